"""What the engine reports, as data. The engine never prints: it emits, and listeners may show.

This module is the whole contract between the engine and its reports (a terminal display, plain lines,
result.json, JUnit). Events are frozen; ``at_s`` is wall-clock time in seconds since the epoch, and
durations come from the monotonic clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Stream = Literal["stdout", "stderr"]
Level = Literal["info", "warning"]
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; *machine* names the guest that it concerns, if any."""

    machine: str = ""
    at_s: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A recipe began; its logs and results go to *directory*."""

    recipe: str
    directory: Path
    rerun: str
    """The command line that does this run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """A recipe ended; the last event of a run."""

    outcome: str
    message: str = ""
    details: tuple[str, ...] = ()
    hint: str = ""
    console: tuple[str, ...] = ()
    """The last lines of the guest's console, where they tell something."""
    shell: str = ""
    """The command line that opens a shell at the point of failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted(Event):
    """A piece of our own work began: waiting for a slot, baking, booting, copying."""

    phase: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """How far the current phase is: *done* of *total* (0: not known), in *unit*."""

    phase: str
    done: int
    total: int = 0
    unit: Literal["bytes", "steps", "seconds"] = "steps"
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEnded(Event):
    """The phase is over after *duration_s* seconds; *error* is the reason if it failed."""

    phase: str
    duration_s: float
    detail: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineStarted(Event):
    """A machine answers. Everything that a bug report needs."""

    image: str
    image_key: str
    manifest: Mapping[str, object]
    argv: tuple[str, ...]
    accelerator: str
    accelerator_reason: str
    start: str
    """``cold``, ``clone`` or ``fork``."""
    start_reason: str
    ssh: str
    """The command line that opens a shell in the machine while it lives."""
    host: str
    """Where it runs, as ``--on`` has it; ``local`` is this host."""
    attempt: int = 1
    console: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleAlarm(Event):
    """A guest's kernel has reported on the console that something is wrong with it."""

    type: str
    """``panic``, ``oops``, ``lockdep``, …: see ``machine.alarms``."""
    severity: Severity
    message: str
    """The line that gave the alarm, without its time stamp."""
    lines: tuple[str, ...]
    """That line, and what followed, as the console has it; before a prompt, what came before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFrozen(Event):
    """A machine was saved as it was when something failed in it, for `reopen`; or could not be."""

    host: str = ""
    """Where the snapshot is, as ``--on`` has it."""
    snapshot: str = ""
    """What it is called in that host's cache; empty: there is none."""
    reason: str = ""
    """Why there is none, as a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStarted(Event):
    """A guest command began; *log* receives all of its output."""

    command: str
    log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(Event):
    """Some output of the running command: decoded, not necessarily whole lines."""

    stream: Stream
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Event):
    """The running command has printed nothing for *silent_s* seconds: a sign of life for CI."""

    command: str
    silent_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnded(Event):
    """A guest command is over. *exit_code* is None where it was never learned (time limit, lost machine)."""

    command: str
    exit_code: int | None
    duration_s: float
    log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseStarted(Event):
    """A test case (a row of the JUnit report) began."""

    case: str
    definition: str = ""
    """The test definition, or the suite, that it is a case of, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseEnded(Event):
    """A test case is over; *outcome* is a value of ``errors.Outcome`` or ``skipped``."""

    case: str
    outcome: str
    duration_s: float
    message: str = ""
    details: tuple[str, ...] = ()
    definition: str = ""
    measurement: str = ""
    """What the case measured, as its author wrote it, in *units*."""
    units: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCall(Event):
    """A member of a group, or the host's side (``host``), has sent something or has waited for something."""

    verb: str
    """``send``, ``wait``, ``wait-all`` or ``sync``."""
    id: str
    role: str = ""
    outcome: str
    """``passed``, ``failed``, or ``withdrawn``: its caller went first."""
    waited_for: tuple[str, ...] = ()
    """The members that were missing when it began to wait."""
    duration_s: float
    error: str = ""
    """Why it failed, as a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRun(Event):
    """How one run of a matrix stands; all of them are told of as the matrix begins."""

    combination: str
    """The image, the host, or both."""
    directory: Path
    outcome: str
    """A value of ``errors.Outcome``; before its end ``waiting`` or ``running``."""
    doing: str = ""
    exit_code: int | None = None
    duration_s: float | None = None
    message: str = ""
    """One line."""
    rerun: str = ""
    """The command line that does this run alone again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled(Event):
    """A machine's profile has ended. What could not be counted is None, and *not_supported* says why, by its name."""

    duration_s: float | None = None
    cpu_s: float | None = None
    """Seconds of processor time, of all of QEMU's threads."""
    threads: Mapping[str, float] | None = None
    """The same by the thread's name."""
    faults: Mapping[str, int] | None = None
    memory: Mapping[str, int | None] | None = None
    storage: Mapping[str, int] | None = None
    block: Mapping[str, Mapping[str, int]] | None = None
    network: Mapping[str, Mapping[str, int]] | None = None
    kvm: Mapping[str, int] | None = None
    perf: Mapping[str, float | None] | None = None
    cost_s: float | None = None
    """Seconds of processor time that the profile itself took."""
    not_supported: Mapping[str, str]
    files: tuple[Path, ...] = ()
    """Samples as JSON Lines, a table, a picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact(Event):
    """A file for the user came out: its path is what standard output shows."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Event):
    """A sentence worth showing."""

    text: str
    level: Level = "info"


Listener = Callable[[Event], None]

_listeners: list[Listener] = []
_lock = threading.RLock()
_renamed: set[str] = set()
"""The old names that have been told of, or are in the list below."""
_unheard: list[Note] = []
"""What was told of them before anybody listened."""


def emit(event: Event) -> None:
    """Hand *event* to every listener, in the order in which they came; one event at a time."""
    with _lock:
        for listener in tuple(_listeners):
            listener(event)
        if _unheard and _listeners:
            for note in unheard():  # after the first event, which begins a record
                emit(note)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let *listener* hear every event until the block ends."""
    with _lock:
        _listeners.append(listener)
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)


def renamed(old: str, new: str) -> None:
    """Tell, once in a process, that a setting, a variable or an option has another name now.

    Where nobody listens yet, it is told after the next event that somebody hears, or by who takes :func:`unheard`.
    """
    with _lock:
        if old in _renamed:
            return
        _renamed.add(old)
        note = Note(text=f"{old} is now {new}", level="warning")
        if _listeners:
            emit(note)
        else:
            _unheard.append(note)


def unheard() -> tuple[Note, ...]:
    """Take what was told of old names and nobody has heard."""
    with _lock:
        notes = tuple(_unheard)
        _unheard.clear()
    return notes


@contextmanager
def phase(name: str, *, machine: str = "", detail: str = "") -> Iterator[None]:
    """Announce a piece of work, and its end with its duration."""
    emit(PhaseStarted(phase=name, machine=machine, detail=detail))
    began_s = time.monotonic()
    error = ""
    try:
        yield
    except BaseException as problem:
        error = str(problem) or type(problem).__name__
        raise
    finally:
        emit(PhaseEnded(phase=name, machine=machine, detail=detail, error=error, duration_s=time.monotonic() - began_s))


REMIND_S = 60.0
"""How often to say that something is still waited for: a caller may take silence for a hang."""


class Waiting:
    """What a phase waits for: said at once, and again each minute for as long as it lasts.

    :param phase: the phase that waits.
    """

    def __init__(self, phase: str, *, machine: str = "") -> None:
        self._phase = phase
        self._machine = machine
        self._text = ""
        self._began_s = self._told_s = time.monotonic()

    def tell(self, text: str) -> None:
        """Say what is waited for, unless the words are the same as before."""
        if text != self._text:
            self._text = text
            emit(Note(machine=self._machine, text=text))

    def remind(self) -> None:
        """Say it again, if it is time to; to be called in every turn of the wait."""
        now_s = time.monotonic()
        if self._text and now_s - self._told_s >= REMIND_S:
            self._told_s = now_s
            waited_s = round(now_s - self._began_s)
            emit(Progress(machine=self._machine, phase=self._phase, done=waited_s, unit="seconds", detail=self._text))
