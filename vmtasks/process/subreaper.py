"""The process below which commands on the host run, so that none of them outlives its caller.

It lives as long as its control socket is open. Each packet is a request (JSON): with ``argv`` and ``env`` (additions)
it starts a command, without them it ends the one that runs. The answer has the request's ``id``, and ``status`` (as a
shell has it) or ``error``. When the socket closes, for whatever reason, everything that the commands have started is
ended.

Everything: this process is the subreaper of what runs below it (PR_SET_CHILD_SUBREAPER, prctl(2)). A daemon that has
detached itself from all others becomes its child instead of init's, and is found.

It is two processes: a worker does all this, and a guard, its parent and a subreaper too, only waits. If either is
killed, the other ends what there is, and itself. Both are in a process group of their own: whatever is sent to the
caller's whole group, by a terminal or by ``kill -9``, leaves them to clean up. The commands are in the caller's group
and have its standard streams, and so its terminal.

What remains possible: if guard and worker are killed in the same moment, the kernel kills the command with them
(PR_SET_PDEATHSIG), but nothing that it has started. What has become another user's (sudo) may not be signalled. And
what a daemon of the host does on a command's behalf (systemd-run, docker, at) never was below it.
"""

# Up in milliseconds, and everything is in /proc; pathlib need not be loaded for that.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

from vmtasks.process.child import die_with_parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any, NoReturn

GRACE_S = 2.0
"""How long after SIGTERM a process is let to end of its own accord."""
KILL_LIMIT_S = 5.0
"""How long to wait for what does not even go by SIGKILL: the kernel has it in a call that cannot be interrupted."""
LOOK_S = 0.02
PACKET_BYTES = 1024 * 1024
"""More than a socket takes."""

_PR_SET_CHILD_SUBREAPER = 36


class CommandServer:
    """Runs what the caller asks for, one command at a time."""

    def __init__(self, control: socket.socket, group: int, guard: int) -> None:
        self._control = control
        self._group = group
        self._guard = os.pidfd_open(guard)
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)  # a child's end ends the wait below
        self._command: subprocess.Popen[bytes] | None = None
        self._serial = 0
        self._earlier: Collection[int] = ()
        """The children that were there before the command: what earlier ones have put into the background."""

    def serve(self) -> None:
        """Do what is asked for until the caller lets go or the guard has ended."""
        while request := self._next():
            self._serial = request["id"]
            if "argv" in request:
                self._start(request)
            else:
                end(spare=self._earlier)
                self._command = None
                self._answer(status=None)
        signal.set_wakeup_fd(-1)

    def _next(self) -> dict[str, Any] | None:
        """Wait for a request, and bury the dead meanwhile."""
        watched: list[Any] = [self._control, self._guard, self._woken]
        while True:
            ready = select.select(watched, [], [])[0]
            if self._guard in ready:
                return None
            if self._woken in ready:
                self._woken.recv(4096)
            for pid, status in buried():
                if self._command and pid == self._command.pid:
                    code = self._command.returncode = os.waitstatus_to_exitcode(status)
                    self._answer(status=code if code >= 0 else 128 - code)
                    self._command = None
            if self._control in ready:
                data = b""
                with suppress(ConnectionResetError):  # the caller has gone without having read all answers
                    data = self._control.recv(PACKET_BYTES)
                return json.loads(data) if data else None

    def _start(self, request: dict[str, Any]) -> None:
        worker = os.getpid()
        self._earlier = {pid for pid, parent in parents().items() if parent == worker}
        try:
            self._command = subprocess.Popen(
                request["argv"],
                env={**os.environ, **request["env"]},
                process_group=self._group,
                preexec_fn=lambda: die_with_parent(worker),  # noqa: PLW1509 - there is but one thread here
            )
        except (OSError, ValueError) as problem:  # a ValueError is of an argument that no process can have
            self._answer(error=getattr(problem, "strerror", None) or str(problem))

    def _answer(self, **answer: object) -> None:
        with suppress(BrokenPipeError):  # a caller that no longer listens has let go: the next wait notices
            self._control.send(json.dumps({"id": self._serial, **answer}).encode())


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def buried() -> list[tuple[int, int]]:
    """Reap the children that have ended; return their wait statuses."""
    found = []
    with suppress(ChildProcessError):  # there are none left
        while (child := os.waitpid(-1, os.WNOHANG))[0]:
            found.append(child)
    return found


def parents() -> dict[int, int]:
    """Return the parent of every process."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{name}/stat", "rb") as file:  # it has ended
            found[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    return found


def below(spare: Collection[int]) -> list[int]:
    """Return all processes below this one that are still to be ended, or to be reaped by their parents."""
    buried()
    every = parents()
    found = [os.getpid()]
    for above in found:
        found += [pid for pid, parent in every.items() if parent == above and pid not in spare]
    return found[1:]


def send(number: signal.Signals, pids: list[int]) -> bool:
    """Send a signal to all of *pids*; return whether any of them could get it."""
    reached = False
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):  # gone, or another user's
            os.kill(pid, number)
            reached = True
    return reached


def come_true(condition: Callable[[], bool], timeout_s: float) -> None:
    """Wait until *condition* holds, but no longer than *timeout_s* seconds."""
    give_up_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < give_up_s:
        time.sleep(LOOK_S)


def end(*, spare: Collection[int] = ()) -> bool:
    """End all processes below this one: by SIGTERM, and after a while by SIGKILL.

    :param spare: children that are to live on, with what is below them.
    :return: whether none is left.
    """
    pids = below(spare)
    send(signal.SIGTERM, pids)
    send(signal.SIGCONT, pids)  # one that a terminal has stopped would not hear of it
    come_true(lambda: not below(spare), GRACE_S)
    come_true(lambda: not send(signal.SIGKILL, below(spare)), KILL_LIMIT_S)
    return not below(spare)


def main() -> NoReturn:
    """Serve the socket whose descriptor is the first argument; the commands' process group is the second.

    The exit status is 0 if nothing is left, else 1.
    """
    control, group = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1) is meant for the commands, too
            signal.signal(number, lambda *_: None)  # the control socket says when to go; commands would inherit SIG_IGN
    adopt_orphans()
    guard = os.getpid()
    worker = os.fork()
    if worker:
        os.waitpid(worker, 0)
    else:
        adopt_orphans()  # a child does not inherit it
        CommandServer(control, group, guard).serve()
    sys.exit(not end())


if __name__ == "__main__":
    main()
