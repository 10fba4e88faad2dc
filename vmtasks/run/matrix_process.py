"""One run of a matrix: a process that does what it would do if it had been called alone.

It waits for slots in the queue as any run, and writes down in a directory of its own what becomes of it. That is read
here, now and then; its display goes to a log.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vmtasks import events
from vmtasks.errors import HostError, Outcome
from vmtasks.process.piped import PipedProcess, signal_name
from vmtasks.process.tail import last_lines
from vmtasks.report.display.plain import shown
from vmtasks.report.files.read import run_at
from vmtasks.report.files.rows import RUNNING, WAITING
from vmtasks.report.sanitize import one_line
from vmtasks.run.record import IN_DIRECTORY, called_with, program

LOG = "output.log"
"""The display of a run, in its directory."""

_LOOK_LINES = 1_000
_OUTCOMES = {one.exit_code: one for one in (Outcome.USAGE, Outcome.HOST, Outcome.INTERRUPTED)}
"""What a status comes to by itself: all others stand for something that a run would have written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A run that has not begun."""

    name: str
    on: str | None
    words: Sequence[str]
    """Its command line, behind the program."""
    directory: Path

    def event(self, **news: Any) -> events.MatrixRun:  # noqa: ANN401 - fields of the event
        """Return how it stands; it waits unless *news* has more."""
        rerun = shlex.join([program(), *self.words])
        return events.MatrixRun(
            **{"combination": self.name, "directory": self.directory, "outcome": WAITING, "rerun": rerun, **news}
        )

    def start(self) -> MatrixProcess:
        """Start it, as this process was started.

        :raise HostError: that cannot be done.
        """
        try:
            self.directory.mkdir()
            argv, env = called_with(self.words), {IN_DIRECTORY: str(self.directory)}
            process = PipedProcess(argv, env=env, log=self.directory / LOG)
        except OSError as problem:
            raise HostError(f"cannot start the run of {self.name}: {problem}") from problem
        return MatrixProcess(self, process)


class MatrixProcess:
    """A run that has begun, and may have ended."""

    def __init__(self, plan: PlannedRun, process: PipedProcess) -> None:
        self.plan = plan
        self.process = process
        self._began_s = time.monotonic()
        self._result = plan.directory / "result.json"
        self._log = plan.directory / LOG
        self._seen_bytes = 0
        self._was_ended = False
        self._tell(plan.event(outcome=RUNNING))

    def end(self) -> None:
        """Ask it to end."""
        self._was_ended = True
        self.process.end()

    def look(self, heartbeat_s: float) -> Outcome | None:
        """Tell what is new, or, if nothing is for *heartbeat_s* seconds, how it stands; return what it came to."""
        status = self.process.status  # asked for first: nothing comes after that
        for line in filter(None, self.process.lines()):
            events.emit(events.Artifact(path=Path(line)))
        if status is not None:
            self.process.close()
            outcome, message = self._end(status)
            took_s = round(time.monotonic() - self._began_s, 3)
            self._tell(self.plan.event(outcome=outcome, message=message, exit_code=status, duration_s=took_s))
            return outcome
        now = self._doing()
        if now not in ("", self._told.doing) or time.monotonic() - self._told_s >= heartbeat_s:
            self._tell(replace(self._told, doing=now or self._told.doing, at_s=time.time()))
        return None

    def _tell(self, event: events.MatrixRun) -> None:
        self._told, self._told_s = event, time.monotonic()
        events.emit(event)

    def _doing(self) -> str:
        """Return what it has last shown of itself, if anything since the last look."""
        seen, self._seen_bytes = self._seen_bytes, self._log.stat().st_size
        lines = last_lines(self._log, _LOOK_LINES) if seen != self._seen_bytes else ()
        return next(filter(None, map(shown, reversed(lines))), "")

    def _end(self, status: int) -> tuple[Outcome, str]:
        """Return its outcome and a message: what it has written down, or else what its status says."""
        document = run_at(self._result)
        for outcome in Outcome:
            if document and document["outcome"] == outcome and outcome.exit_code == status:
                return outcome, one_line(document.get("message", ""))
        if status < 0:
            ended = f"its process was ended by {signal_name(status)}"
            return (Outcome.INTERRUPTED if self._was_ended else Outcome.HOST), ended
        last = one_line("".join(last_lines(self._log, 1)))
        return _OUTCOMES.get(status, Outcome.INTERNAL), last or f"its process ended with status {status}"
