"""Freezing: the first machine of a run in which something fails is saved as it is, for `reopen`."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.config.here import task_line
from vmtasks.errors import GuestLost, InfrastructureError, TestFailed, TimedOut, UsageError, VmtasksError

if TYPE_CHECKING:
    from vmtasks.guest import Guest
    from vmtasks.run.options import RecipeOptions


class Freezer:
    """Freezes one machine of a run, the first that can be, however many fail."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_done = False

    @staticmethod
    def is_wanted(flags: RecipeOptions) -> bool:
        """Whether failures are to be frozen: as the command line has it, or the host's settings."""
        from vmtasks.config.settings import HostSettings

        return flags.freeze or HostSettings.load().freeze

    def freeze(self, guest: Guest, problem: VmtasksError, directory: Path) -> None:
        """Freeze a machine in which something has just failed, and tell how to open a copy; or why it cannot be.

        A guest that has gone away by its own doing is beyond that; then, and where it could not be, the next failure
        counts.

        :param directory: of the run's results.
        """
        if not isinstance(problem, TestFailed | TimedOut) or isinstance(problem, GuestLost):
            return
        with self._lock:
            if self._is_done:
                return
            try:
                frozen = guest.freeze()
            except (UsageError, InfrastructureError) as reason:
                events.emit(events.MachineFrozen(machine=guest.name, reason=str(reason)))
                text = f"{reason}; {reason.hint}" if reason.hint else str(reason)
                events.emit(events.Note(machine=guest.name, text=text, level="warning"))
                return
            self._is_done = True
            name = frozen.directory.name
            events.emit(events.MachineFrozen(machine=guest.name, host=frozen.on, snapshot=name))
            text = f"frozen as it failed; a copy of it opens with {reopen_line(directory)}"
            events.emit(events.Note(machine=guest.name, text=text))


def reopen_line(directory: Path) -> str:
    """Return the command line that opens what was frozen of a run, as a message quotes it."""
    if os.path.realpath(directory.parent / "latest") == os.path.realpath(directory):
        return task_line("reopen")
    return task_line(f"reopen --results {shlex.quote(os.path.relpath(directory))}")
