"""result.json: a run as data, for the calling program.

It is written at the start and at the end, as a phase begins and ends, when a machine has started, after every case, and
at most once a second for all else that happens, cases of test definitions among it; always as a whole, so that a run
that was killed leaves a document that was true when it was. The keys:

``schema``
    2; it changes when a key changes its meaning or goes.
``recipe``, ``rerun``, ``directory``
    What ran, the command line that runs it again, where its logs are.
``outcome``, ``exit_code``
    A value of ``errors.Outcome`` and its exit status; ``"running"`` and null before the end.
``message``, ``details``, ``hint``
    What went wrong, the lines that show it, what to do next; empty after a pass.
``started``, ``ended``, ``duration_s``
    ISO 8601 in UTC, and seconds; the last two are null before the end.
``phases``
    ``{phase, machine, detail, duration_s, error}`` each, in the order of their beginnings.
``commands``
    ``{machine, command, exit_code, duration_s, log}`` each; it is null if it was never learned.
``machines``
    ``{machine, image, image_key, manifest, argv, accelerator, accelerator_reason, start, start_reason, host, attempt,
    console}`` each.
``alarms``
    ``{machine, type, severity, message, lines}`` each: what kernels of guests have reported on their consoles.
``frozen``
    ``{machine, host, snapshot, reason}`` of what `reopen` opens; if ``snapshot`` is empty, why there is none.
``cases``
    ``{case, outcome, duration_s, message, machine, definition, measurement, units}`` each; outcome may also be
    ``"skipped"``; the last four are empty unless a test definition, a suite or netperf has the case.
``messages``
    ``{machine, verb, id, role, outcome, waited_for, duration_s, error}`` each: what machines of a group sent and
    waited for.
``runs``
    ``{combination, outcome, exit_code, duration_s, directory, message}`` each: the runs of a matrix; empty elsewhere.
``profiles``
    ``{machine, duration_s, cpu_s, threads, faults, memory, storage, block, network, kvm, perf, cost_s, not_supported,
    files}`` each: what machines took of their host; null is what could not be counted, and ``not_supported`` says why.
``artifacts``, ``notes``
    Paths of the files that came out; sentences worth showing, ``{level, text}`` each.

Until 0.2 what was renamed since schema 1 has its old key as well, behind those of its row: ``sentence``, ``evidence``,
``repeat``, ``products``, ``status`` of a command, ``why_accelerator``, ``why_start`` and ``on`` of a machine.

A phase, command or case whose ``duration_s`` is null had not ended yet. Output of commands is in their logs
only. Times of beginning and end are the wall clock's. Paths are absolute.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from functools import singledispatch
from pathlib import Path
from typing import Any

from vmtasks import events as e
from vmtasks.errors import Outcome
from vmtasks.report.files.rows import (
    NAMES_BEFORE,
    RUNNING,
    AlarmRow,
    Case,
    Command,
    FrozenRow,
    MachineRow,
    MatrixRow,
    MessageRow,
    Phase,
    ProfileRow,
    Remark,
    begun_among,
    ended_among,
    row_of,
)
from vmtasks.report.sanitize import in_json, lines_of, sanitized

SCHEMA = 2

_NEWS = e.RunStarted | e.RunEnded | e.PhaseStarted | e.PhaseEnded | e.CaseEnded | e.MachineStarted | e.MatrixRun
_WRITE_EVERY_S = 1.0
_EVIDENCE_LINES = 200
_MOST_ALARMS = 1_000
_MOST_MESSAGES = 10_000
"""How many rows of messages there are at most: guests make them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """The document, with the names and the order of its keys."""

    schema: int = SCHEMA
    recipe: str = ""
    outcome: str = RUNNING
    exit_code: int | None = None
    message: str = ""
    details: tuple[str, ...] = ()
    hint: str = ""
    started: str | None = None
    ended: str | None = None
    duration_s: float | None = None
    rerun: str = ""
    directory: Path | None = None
    phases: tuple[Phase, ...] = ()
    commands: tuple[Command, ...] = ()
    machines: tuple[MachineRow, ...] = ()
    alarms: tuple[AlarmRow, ...] = ()
    frozen: tuple[FrozenRow, ...] = ()
    cases: tuple[Case, ...] = ()
    messages: tuple[MessageRow, ...] = ()
    runs: tuple[MatrixRow, ...] = ()
    profiles: tuple[ProfileRow, ...] = ()
    artifacts: tuple[Path, ...] = ()
    notes: tuple[Remark, ...] = ()


def fold(result: RunResult, event: e.Event) -> RunResult:
    """Return *result* as it is after *event*."""
    return _after(event, result)


@singledispatch
def _after(_: e.Event, result: RunResult) -> RunResult:
    return result


@_after.register
def _(event: e.RunStarted, result: RunResult) -> RunResult:
    began = _iso(event.at_s)
    return replace(result, recipe=event.recipe, directory=event.directory, rerun=event.rerun, started=began)


@_after.register
def _(event: e.PhaseStarted, result: RunResult) -> RunResult:
    phase = Phase(phase=event.phase, machine=event.machine, detail=event.detail)
    return replace(result, phases=begun_among(result.phases, phase))


@_after.register
def _(event: e.PhaseEnded, result: RunResult) -> RunResult:
    phase = Phase(phase=event.phase, machine=event.machine, detail=event.detail)
    phase = replace(phase, duration_s=_ms(event.duration_s), error=sanitized(event.error))
    return replace(result, phases=ended_among(result.phases, phase))


@_after.register
def _(event: e.MachineStarted, result: RunResult) -> RunResult:
    return replace(result, machines=(*result.machines, row_of(MachineRow, event)))


@_after.register
def _(event: e.MachineFrozen, result: RunResult) -> RunResult:
    return replace(result, frozen=(*result.frozen, replace(row_of(FrozenRow, event), reason=sanitized(event.reason))))


@_after.register
def _(event: e.ConsoleAlarm, result: RunResult) -> RunResult:
    if len(result.alarms) >= _MOST_ALARMS:
        return result
    lines = tuple(lines_of(event.lines, at_most=_EVIDENCE_LINES))
    alarm = replace(row_of(AlarmRow, event), message=sanitized(event.message), lines=lines)
    return replace(result, alarms=(*result.alarms, alarm))


@_after.register
def _(event: e.CommandStarted, result: RunResult) -> RunResult:
    command = Command(machine=event.machine, command=event.command, log=event.log)
    return replace(result, commands=begun_among(result.commands, command))


@_after.register
def _(event: e.CommandEnded, result: RunResult) -> RunResult:
    command = Command(machine=event.machine, command=event.command, log=event.log)
    command = replace(command, exit_code=event.exit_code, duration_s=_ms(event.duration_s))
    return replace(result, commands=ended_among(result.commands, command))


@_after.register
def _(event: e.CaseStarted, result: RunResult) -> RunResult:
    return replace(result, cases=begun_among(result.cases, _case(event)))


@_after.register
def _(event: e.CaseEnded, result: RunResult) -> RunResult:
    case = replace(
        _case(event),
        outcome=event.outcome,
        duration_s=_ms(event.duration_s),
        message=sanitized(event.message),
        measurement=sanitized(event.measurement),
        units=sanitized(event.units),
    )
    return replace(result, cases=ended_among(result.cases, case))


@_after.register
def _(event: e.GroupCall, result: RunResult) -> RunResult:
    if len(result.messages) >= _MOST_MESSAGES:
        return result
    row = row_of(MessageRow, event)
    texts: dict[str, Any] = {name: sanitized(getattr(row, name)) for name in ("id", "role", "error")}
    return replace(result, messages=(*result.messages, replace(row, duration_s=_ms(row.duration_s), **texts)))


@_after.register
def _(event: e.MatrixRun, result: RunResult) -> RunResult:
    rows = {one.combination: one for one in result.runs} | {event.combination: row_of(MatrixRow, event)}
    return replace(result, runs=tuple(rows.values()))


@_after.register
def _(event: e.Profiled, result: RunResult) -> RunResult:
    return replace(result, profiles=(*result.profiles, row_of(ProfileRow, event)))


@_after.register
def _(event: e.Artifact, result: RunResult) -> RunResult:
    return replace(result, artifacts=(*result.artifacts, event.path))


@_after.register
def _(event: e.Note, result: RunResult) -> RunResult:
    return replace(result, notes=(*result.notes, Remark(level=event.level, text=sanitized(event.text))))


@_after.register
def _(event: e.RunEnded, result: RunResult) -> RunResult:
    began_s = datetime.fromisoformat(result.started).timestamp() if result.started else event.at_s
    return replace(
        result,
        outcome=event.outcome,
        exit_code=_exit_code(event.outcome),
        message=sanitized(event.message),
        details=tuple(lines_of(event.details, at_most=_EVIDENCE_LINES)),
        hint=event.hint,
        ended=_iso(event.at_s),
        duration_s=_ms(max(0.0, event.at_s - began_s)),
    )


def _case(event: e.CaseStarted | e.CaseEnded) -> Case:
    return Case(case=event.case, machine=event.machine, definition=event.definition)


def _exit_code(outcome: str) -> int:
    return (Outcome(outcome) if outcome in list(Outcome) else Outcome.INTERNAL).exit_code


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, tz=UTC).isoformat(timespec="milliseconds")


def _ms(seconds: float) -> float:
    return round(seconds, 3)


class ResultFile:
    """Keeps result.json: the fold of all events, written when there is news.

    :param path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._result = RunResult()
        self._written_s: float | None = None

    def hear(self, event: e.Event) -> bool:
        """Take *event* in; what comes often is worth a write only once a second."""
        self._result = fold(self._result, event)
        if isinstance(event, e.Output | e.Progress | e.Heartbeat) and self._written_s is not None:
            return False
        # Of the cases of a test definition there can be thousands.
        must = isinstance(event, _NEWS) and not getattr(event, "definition", "")
        due = self._written_s is None or not 0 <= event.at_s - self._written_s < _WRITE_EVERY_S
        if must or due:
            self._written_s = event.at_s
        return must or due

    def text(self) -> str:
        """Return the document as JSON: what a terminal would obey is there as JSON's escapes."""
        return in_json(json.dumps(self._result, default=_plain, ensure_ascii=False, indent=2)) + "\n"


def _plain(value: object) -> object:
    if is_dataclass(value):
        row = {field.name: getattr(value, field.name) for field in fields(value)}
        is_new = isinstance(value, AlarmRow | FrozenRow | MatrixRow | ProfileRow)  # schema 1 had none of them
        before = {NAMES_BEFORE[name]: row[name] for name in row if name in NAMES_BEFORE and not is_new}
        return row | before | ({"status": value.exit_code} if isinstance(value, Command) else {})
    if isinstance(value, Path):  # a later reader may have another working directory
        return str(value.absolute())
    return dict(value) if isinstance(value, Mapping) else str(value)
