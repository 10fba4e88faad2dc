"""Numbers, paths and events as people read them."""

from __future__ import annotations

from pathlib import Path

from vmtasks.events import CaseEnded, CaseStarted, ConsoleAlarm, MachineStarted, PhaseEnded, PhaseStarted, Progress
from vmtasks.report.sanitize import one_line
from vmtasks.spec import LOCAL

_MIB = 1024 * 1024
_TOLD_BY_A_NOTE = ("oom", "Out of memory: Killed process ")
"""The type of alarm that a note tells of, with what helps, and how its message begins: a control group's has none."""


def duration(seconds: float) -> str:
    """Write a duration as precisely as somebody cares: ``0.4 s``, ``42 s``, ``1 min 12 s``, ``2 h 5 min``."""
    if seconds < 9.95:  # noqa: PLR2004 - what would round to 10.0
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest_s} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest_s} s"


def how_far(progress: Progress) -> str:
    """Write how far something is: ``12.3 of 36.0 MiB``, ``3 of 8``, or what is done of an unknown total."""
    if progress.unit == "seconds":
        return duration(progress.done)
    if progress.unit == "bytes":
        done = f"{progress.done / _MIB:.1f}"
        return f"{done} of {progress.total / _MIB:.1f} MiB" if progress.total else f"{done} MiB"
    return f"{progress.done} of {progress.total}" if progress.total else f"{progress.done}"


def share(progress: Progress) -> float | None:
    """Return how far something is as a part of 1, or None where the total is not known."""
    return min(1.0, max(0.0, progress.done / progress.total)) if progress.total > 0 else None


def relative(path: Path) -> str:
    """Write *path* from here if it is below the working directory: shorter, and still good for copying."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # OSError: the working directory is gone
        return str(path)


def named(event: PhaseStarted | PhaseEnded) -> str:
    """Name a phase, with what makes it different from its like."""
    return f"{event.phase} ({one_line(event.detail)})" if event.detail else event.phase


def case_name(event: CaseStarted | CaseEnded) -> str:
    """Name a test case, in one line, behind the definition that it is of."""
    return one_line(f"{event.definition}/{event.case}" if event.definition else event.case)


def findings(event: CaseEnded) -> str:
    """Write what a test case measured, and what it had to say."""
    found = one_line(" ".join(filter(None, (event.measurement, event.units)))) if event.measurement else ""
    return "".join(f": {text}" for text in (found, one_line(event.message)) if text)


def is_told_by_a_note(event: ConsoleAlarm) -> bool:
    """Tell whether somebody has said already what a guest's kernel has reported."""
    type_, begin = _TOLD_BY_A_NOTE
    return event.type == type_ and event.message.startswith(begin)


def because(message: str) -> str:
    """Return a message as the end of a sentence; nothing where there is none."""
    return f": {message}" if message else ""


def complaint(event: ConsoleAlarm) -> str:
    """Say what a guest's kernel has reported."""
    return f"its kernel reports ({event.type}): {one_line(event.message)}"


def ready(event: MachineStarted) -> str:
    """Say which image a machine runs, how it started and on what accelerator, and why so."""
    image = f"{event.image} ({event.image_key[:12]})" if event.image_key else event.image or "the machine"
    part = ": " if event.start == "cold" else " "  # "cold: as asked for", but "clone of template X"
    reason = f"{part}{event.start_reason}" if event.start_reason else ""
    where = "" if event.host == LOCAL else f" on {event.host}"
    return f"{image} is ready{where} ({event.start}{reason}; {event.accelerator}, {event.accelerator_reason})"
