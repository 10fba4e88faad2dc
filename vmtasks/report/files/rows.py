"""The rows of result.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from vmtasks.events import Event

RUNNING = "running"
WAITING = "waiting"
"""What a run of a matrix does before it begins."""

NAMES_BEFORE = {
    "message": "sentence",
    "details": "evidence",
    "rerun": "repeat",
    "artifacts": "products",
    "accelerator_reason": "why_accelerator",
    "start_reason": "why_start",
    "host": "on",
}
"""What keys of schema 1 were called; until 0.2 they are there as well, behind those of today."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A piece of our own work."""

    phase: str
    machine: str
    detail: str
    duration_s: float | None = None
    error: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What its end is recognized by."""
        return (self.machine, self.phase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command in a guest."""

    machine: str
    command: str
    exit_code: int | None = None
    duration_s: float | None = None
    log: Path | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What its end is recognized by."""
        return (self.machine, self.command)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRow:
    """A machine that answered."""

    machine: str
    image: str
    image_key: str
    manifest: Mapping[str, object]
    argv: tuple[str, ...]
    accelerator: str
    accelerator_reason: str
    start: str
    start_reason: str
    host: str
    attempt: int
    console: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRow:
    """What a guest's kernel has reported on the console."""

    machine: str
    type: str
    severity: str
    message: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenRow:
    """A machine as it was when something failed in it, or why there is none to reopen."""

    machine: str
    host: str
    snapshot: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """A message between machines of a group, or a wait for one."""

    machine: str
    verb: str
    id: str
    role: str
    outcome: str
    waited_for: tuple[str, ...]
    duration_s: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A test case."""

    case: str
    outcome: str = RUNNING
    duration_s: float | None = None
    message: str = ""
    machine: str = ""
    definition: str = ""
    measurement: str = ""
    units: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What its end is recognized by."""
        return (self.machine, self.definition, self.case)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """A run of a matrix."""

    combination: str
    outcome: str
    exit_code: int | None
    duration_s: float | None
    directory: Path
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRow:
    """What a machine took of its host; what could not be counted is null."""

    machine: str
    duration_s: float | None
    cpu_s: float | None
    threads: Mapping[str, float] | None
    faults: Mapping[str, int] | None
    memory: Mapping[str, int | None] | None
    storage: Mapping[str, int] | None
    block: Mapping[str, Mapping[str, int]] | None
    network: Mapping[str, Mapping[str, int]] | None
    kvm: Mapping[str, int] | None
    perf: Mapping[str, float | None] | None
    cost_s: float | None
    not_supported: Mapping[str, str]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A sentence worth showing."""

    level: str
    text: str


Row = TypeVar("Row", bound=Phase | Command | Case)
CopiedRow = TypeVar("CopiedRow", bound=MachineRow | AlarmRow | FrozenRow | MatrixRow | MessageRow | ProfileRow)


class _Rows(tuple[Row, ...]):  # noqa: SLOT001 - a tuple has no room for slots
    """Rows, and where those stand that are open, by their keys: of some there are thousands."""

    open: Mapping[tuple[str, ...], tuple[int, ...]]


def _of(rows: Iterable[Row], places: Mapping[tuple[str, ...], tuple[int, ...]]) -> tuple[Row, ...]:
    found = _Rows(rows)
    found.open = places
    return found


def _open_in(rows: tuple[Row, ...]) -> Mapping[tuple[str, ...], tuple[int, ...]]:
    if isinstance(rows, _Rows):
        return rows.open
    places: dict[tuple[str, ...], tuple[int, ...]] = {}
    for place, row in enumerate(rows):
        if row.duration_s is None:
            places[row.key] = (*places.get(row.key, ()), place)
    return places


def begun_among(rows: tuple[Row, ...], begun: Row) -> tuple[Row, ...]:
    """Put *begun*, which is open, behind all rows."""
    places = _open_in(rows)
    return _of((*rows, begun), {**places, begun.key: (*places.get(begun.key, ()), len(rows))})


def ended_among(rows: tuple[Row, ...], ended: Row) -> tuple[Row, ...]:
    """Put *ended* in the place of the last open row with its key, or behind all rows if there is none."""
    places = _open_in(rows)
    if not (those := places.get(ended.key)):
        return _of((*rows, ended), places)
    *before, last = those
    rest = {key: one for key, one in places.items() if key != ended.key}
    return _of((*rows[:last], ended, *rows[last + 1 :]), {**rest, ended.key: tuple(before)} if before else rest)


def row_of(kind: type[CopiedRow], event: Event) -> CopiedRow:
    """Return a row whose fields an event has by the same names."""
    return kind(**{field.name: getattr(event, field.name) for field in fields(kind)})
