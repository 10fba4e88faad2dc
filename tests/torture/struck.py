"""A run that is struck: a shell and all below it, from the start to the last of its remains."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.torture.leftovers import Process, family, listeners, listening, processes, roles
from vmtasks.deadline import Deadline
from vmtasks.host import slots

_APPEAR_LIMIT_S = 1.0
_KILL_LIMIT_S = 10.0
_LOOK_S = 0.02
_TAIL_LETTERS = 4000


class Struck:
    """A run in a session of its own; at the end of the block there is nothing of it.

    :param line: what the shell runs.
    :param callers: the processes below the shell, each of which calls the next one, by their names.
    :param environ: its environment, in which *mark* is, for it to be known by.
    :param on_terminal: whether it has a terminal; if not, pipes.
    """

    def __init__(
        self,
        line: str,
        callers: tuple[str, ...],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        mark: str,
        on_terminal: bool,
    ) -> None:
        self.tail = ""
        """The end of what it has printed."""
        self._callers = callers
        self._mark = mark
        self._known: set[Process] = set()
        """All that were ever seen of it."""
        self._lost: set[Process] = set()
        """Who was struck, and all that was below."""
        self._sockets: dict[str, int] = {}
        if on_terminal:
            ours, theirs = pty.openpty()
            inner, self._ends = (theirs, theirs, theirs), {"terminal": ours}
        else:
            nothing, (out, out_theirs), (err, err_theirs) = os.open(os.devnull, os.O_RDONLY), os.pipe(), os.pipe()
            inner, self._ends = (nothing, out_theirs, err_theirs), {"stdout": out, "stderr": err}
        # With nothing behind its line, the shell would become what it calls. It is hung up as usual under nohup(1).
        self.shell = subprocess.Popen(
            ["setsid", *(["--ctty"] if on_terminal else []), "env", "--default-signal", "sh", "-c", f"{line}; exit $?"],
            stdin=inner[0], stdout=inner[1], stderr=inner[2], cwd=cwd, env=environ,
        )  # fmt: skip
        for fd in set(inner):
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._ends.values():
            os.close(fd)
        self._ends = {}
        deadline = Deadline.after(_KILL_LIMIT_S)
        while (ours := self._family()) and not deadline.passed:
            for process in ours:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            self.wait_for(self.ended, _LOOK_S)
        self.shell.wait()

    def ended(self) -> bool:
        """Tell whether the shell has ended."""
        return self.shell.poll() is not None

    def wait_for(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Read what it prints until *condition* holds; return whether it came to that."""
        deadline = Deadline.after(timeout_s)
        while not condition():
            if deadline.passed:
                return False
            for fd in select.select(list(self._ends.values()), [], [], _LOOK_S)[0]:
                self._read(fd)
        return True

    def strike(self, process: str, way: str) -> bool:
        """Lose a process in some way; return whether it was there to be lost."""
        who = process if process in {*self._callers, "supervisor", "qemu", "switch", "tool"} else "shell"
        self.wait_for(lambda: who in self._cast() or self.ended(), _APPEAR_LIMIT_S)
        target = self._cast().get(who)
        if target is None:
            return False
        self._lost = family(processes(), {target})
        self._sockets = listening(self._family())
        if way == "closed":
            os.close(self._ends.pop(process))
        else:
            send = os.killpg if process == "job" else os.kill
            with suppress(ProcessLookupError):  # it was quicker
                send(target.pid, signal.Signals[f"SIG{way}"])
        return True

    def has_lost(self) -> bool:
        """Tell whether there is nothing of whom was struck, nor of all below, whatever the run does next."""
        return not self._lost.intersection(processes().values())

    def is_about(self, path: Path) -> bool:
        """Tell whether a command line of whom was struck, or of what was below, names a file beneath *path*."""
        return any(f"{path}/" in process.line for process in self._lost)

    def interrupt(self) -> None:
        """End a run that goes on, as whoever called it would."""
        if caller := self._cast().get(self._callers[-1]):
            with suppress(ProcessLookupError):  # it has come to its own end
                os.kill(caller.pid, signal.SIGTERM)

    def left(self) -> list[str]:
        """Return what there is of it, but for files."""
        self.shell.poll()
        ours = self._family()
        pids = {process.pid for process in self._known}
        return [
            *map(str, sorted(ours, key=lambda one: one.pid)),
            *(f"port {self._sockets[inode]}" for inode in self._sockets.keys() & listeners()),
            *(f"the slot of {ticket}" for ticket in slots.tickets() if ticket.pid in pids),
        ]

    def _cast(self) -> dict[str, Process]:
        return roles(processes(), self.shell.pid, self._callers)

    def _family(self) -> set[Process]:
        ours = family(processes(), self._known, self._mark)
        self._known |= ours
        return ours

    def _read(self, fd: int) -> None:
        try:
            data = os.read(fd, 65536)
        except OSError:  # a terminal that nobody else has any more
            data = b""
        if data:
            self.tail = (self.tail + data.decode(errors="replace"))[-_TAIL_LETTERS:]
        else:
            self._ends = {name: one for name, one in self._ends.items() if one != fd}
            os.close(fd)
