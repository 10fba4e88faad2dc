"""The display for a log file or a CI: plain lines, each with the time and the machine that it is about.

::

    12:03:04 bookworm  * boot
    12:03:13 bookworm  * boot: done in 9.4 s
    12:03:13 bookworm  $ make check
    12:03:14 bookworm  | cc -o hello hello.c
    12:03:15 bookworm  * make check: status 0 after 1.2 s

``|`` marks what a guest printed, and nothing else has it: a guest cannot put words into our mouth.
"""

from __future__ import annotations

import re
import time
from functools import singledispatchmethod

from vmtasks import events as e
from vmtasks.errors import Outcome
from vmtasks.report.display.stream import SafeStream
from vmtasks.report.format import (
    case_name,
    complaint,
    duration,
    findings,
    how_far,
    is_told_by_a_note,
    named,
    ready,
    relative,
    share,
)
from vmtasks.report.sanitize import WholeLines, one_line, sanitized
from vmtasks.report.summary import Line, summary
from vmtasks.report.timings import Times

SHELL = "a shell while it lives: "
_SHOWN = re.compile(r"\d\d:\d\d:\d\d (?P<machine>[^\s*$|]\S*)? *[*$] (?P<text>.+)")
_PROGRESS_EVERY_S = 10
_PROGRESS_STEP = 0.1
_PROGRESS_AT_LEAST_EVERY_S = 60


class Plain:
    """Writes timestamped lines; a progress at most every ten seconds and every tenth of the way."""

    def __init__(self, stream: SafeStream) -> None:
        self._stream = stream
        self._lines = WholeLines()
        self._width = 0
        self._started: e.RunStarted | None = None
        self._times = Times()
        self._shown: dict[tuple[str, str], tuple[float, float]] = {}  # when and how far each phase was last shown

    def __call__(self, event: e.Event) -> None:
        """Hear an event."""
        self._times(event)
        self._handle(event)

    @singledispatchmethod
    def _handle(self, event: e.Event) -> None:
        """Show what an event tells; of those without a method below, nothing."""

    @_handle.register
    def _(self, event: e.Output) -> None:
        self._print(event, "|", self._lines.add(event))

    @_handle.register
    def _(self, event: e.CommandStarted) -> None:
        self._say(event, one_line(event.command), mark="$")

    @_handle.register
    def _(self, event: e.CommandEnded) -> None:
        self._flush(event)
        status = "status unknown" if event.exit_code is None else f"status {event.exit_code}"
        self._say(event, f"{one_line(event.command)}: {status} after {duration(event.duration_s)}")

    @_handle.register
    def _(self, event: e.Heartbeat) -> None:
        self._flush(event)
        self._say(event, f"{one_line(event.command)}: nothing printed for {duration(event.silent_s)}")

    @_handle.register
    def _(self, event: e.PhaseStarted) -> None:
        self._shown[event.machine, event.phase] = (event.at_s, 0.0)
        self._say(event, named(event))

    @_handle.register
    def _(self, event: e.Progress) -> None:
        self._progress(event)

    @_handle.register
    def _(self, event: e.PhaseEnded) -> None:
        self._shown.pop((event.machine, event.phase), None)
        self._say(event, f"{named(event)}: {_end_of_phase(event)}")

    @_handle.register
    def _(self, event: e.MachineStarted) -> None:
        self._machine(event)

    @_handle.register
    def _(self, event: e.CaseStarted) -> None:
        self._say(event, f"case {case_name(event)}")

    @_handle.register
    def _(self, event: e.CaseEnded) -> None:
        self._case(event)

    @_handle.register
    def _(self, event: e.Note) -> None:
        warning = "warning: " if event.level == "warning" else ""
        self._say(event, warning + sanitized(event.text))

    @_handle.register
    def _(self, event: e.ConsoleAlarm) -> None:
        if not is_told_by_a_note(event):
            self._say(event, f"warning: {complaint(event)}")

    @_handle.register
    def _(self, event: e.RunStarted) -> None:
        self._started = event
        self._say(event, f"{event.recipe} began; logs and results go to {relative(event.directory)}")

    @_handle.register
    def _(self, event: e.RunEnded) -> None:
        self.flush()
        text = "\n".join(written(line) for line in summary(self._started, event, self._times.text()))
        self._stream.write(text + "\n" if event.outcome == Outcome.PASSED else f"\n{text}\n")

    def flush(self) -> None:
        """Show what the machines have begun to print and not ended."""
        for machine in self._lines.machines():
            self._flush(e.Event(machine=machine))

    def _flush(self, event: e.Event) -> None:
        self._print(event, "|", self._lines.rest(event.machine))

    def _progress(self, event: e.Progress) -> None:
        key = (event.machine, event.phase)
        last_s, last_share = self._shown.setdefault(key, (event.at_s, 0.0))
        part, waited_s = share(event), event.at_s - last_s
        is_news = part is None or round(part - last_share, 3) >= _PROGRESS_STEP
        if waited_s < _PROGRESS_EVERY_S or not (is_news or waited_s >= _PROGRESS_AT_LEAST_EVERY_S):
            return
        self._shown[key] = (event.at_s, part or 0.0)
        percent = "" if part is None else f"{part:.0%}, "
        detail = f" ({one_line(event.detail)})" if event.detail else ""
        self._say(event, f"{event.phase}: {percent}{how_far(event)}{detail}")

    def _machine(self, event: e.MachineStarted) -> None:
        self._say(event, ready(event))
        if event.ssh:
            self._say(event, SHELL + event.ssh)

    def _case(self, event: e.CaseEnded) -> None:
        end = f"{event.outcome} after {duration(event.duration_s)}{findings(event)}"
        self._say(event, f"case {case_name(event)}: {end}")

    def _say(self, event: e.Event, text: str, *, mark: str = "*") -> None:
        self._print(event, mark, sanitized(text) + "\n")

    def _print(self, event: e.Event, mark: str, lines: str) -> None:
        """Write *lines*, each of which has its line feed, as one string: a guest may print a gigabyte."""
        if not lines:
            return
        self._width = max(self._width, len(event.machine))
        clock = time.strftime("%H:%M:%S", time.localtime(event.at_s))
        prefix = f"{clock} {event.machine:<{self._width}}  {mark} " if self._width else f"{clock} {mark} "
        self._stream.write(prefix + lines[:-1].replace("\n", "\n" + prefix) + "\n")


def shown(line: str) -> str:
    """Return what a line of the display reports of the run itself, with its machine.

    Nothing for a guest's output, and for the long command line of a shell, which is of use beside the machine alone.
    """
    found = _SHOWN.fullmatch(line)
    if found and found["text"].startswith(SHELL):
        return ""
    return ": ".join(part for part in found.groups() if part) if found else ""


def _end_of_phase(event: e.PhaseEnded) -> str:
    if event.error:
        return f"failed after {duration(event.duration_s)}: {one_line(event.error)}"
    return f"done in {duration(event.duration_s)}"


def written(line: Line) -> str:
    """Return a line of the summary as text."""
    match line.role:
        case "heading":
            return f"  {line.text}"
        case "quote":
            return f"    | {line.text}"
        case "fact":
            return f"  {line.label + ':':<8} {line.text}"
        case _:
            return line.text
