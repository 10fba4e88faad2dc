"""Commands on the host that cannot outlive their caller.

::

    with host_commands() as host:
        status = host.run(["/bin/sh", "-c", line], env={"PORT": "2222"})

They run below a subreaper (:mod:`vmtasks.process.subreaper`, which also lists what it cannot help), in the caller's
working directory, with its standard streams and in its process group, so that a terminal serves them as it does that.
What a command puts into the background lives on for the later ones, and ends with the block, as everything does that
the commands have started; or within seconds of the caller, whatever becomes of that.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from vmtasks.deadline import Deadline
from vmtasks.errors import HostError, TimedOut
from vmtasks.process.isolated import isolated_argv
from vmtasks.process.subreaper import PACKET_BYTES

_TURN_S = 0.25
_STOP_LIMIT_S = 20.0
"""How long a subreaper may take to end what there is: more than its own limits add up to."""


class HostCommands:
    """Runs commands on the host, one at a time."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._serial = 0

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        watch: Callable[[float], object] = lambda _: None,
    ) -> int:
        """Run one command and return its status as a shell has it: 128 + N if signal N ended it.

        :param env: what to add to the environment.
        :param watch: called a few times a second; if it raises, the command is ended, and so is the wait.
        :raise HostError: the command cannot be started, or the subreaper has ended, and the command with it.
        :raise TimedOut: the command did not end within *timeout_s*, and so was ended.
        """
        shown = shlex.join(argv)
        deadline = Deadline.after(timeout_s)
        try:
            self._ask(argv=list(argv), env=dict(env or {}))
            while (answer := self._hear(deadline.within(_TURN_S))) is None:
                if deadline.passed:
                    raise TimedOut(f"`{shown}` on the host did not end within {deadline.timeout_s:g} s")
                watch(0.0)
        except BaseException:
            with suppress(HostError):  # then it has ended already
                self._ask()
                self._hear(_STOP_LIMIT_S)
            raise
        if "error" in answer:
            raise HostError(f"cannot run `{shown}` on the host: {answer['error']}")
        return int(answer["status"])

    def _ask(self, **request: object) -> None:
        self._serial += 1
        with _explained():
            self._control.send(json.dumps({"id": self._serial, **request}).encode())

    def _hear(self, wait_s: float) -> dict[str, Any] | None:
        """Return the answer to the last request, or None if there is none within *wait_s*."""
        if not select.select([self._control], [], [], wait_s)[0]:
            return None
        with _explained():
            data = self._control.recv(PACKET_BYTES)
            if not data:
                raise ConnectionResetError
        answer: dict[str, Any] = json.loads(data)
        return answer if answer["id"] == self._serial else self._hear(wait_s)  # of a command that was given up


@contextmanager
def host_commands() -> Iterator[HostCommands]:
    """Have commands run on the host for as long as the block lasts.

    :raise HostError: at the end of the block, something that a command has started could not be ended.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        fd = theirs.fileno()
        argv = isolated_argv("vmtasks.process.subreaper", str(fd), str(os.getpgrp()))
        subreaper = subprocess.Popen(argv, pass_fds=[fd], process_group=0)
    with subreaper, ours:
        try:
            yield HostCommands(ours)
        finally:
            _stop(subreaper, ours)


def _stop(subreaper: subprocess.Popen[bytes], control: socket.socket) -> None:
    """Have the subreaper end what there is, and see it out."""
    control.shutdown(socket.SHUT_WR)
    control.settimeout(_STOP_LIMIT_S)
    try:
        with suppress(ConnectionResetError):  # it was killed before it had read everything
            while control.recv(PACKET_BYTES):  # it closes when all of the subreaper has done its work
                pass
        status = subreaper.wait(_STOP_LIMIT_S)
    except (TimeoutError, subprocess.TimeoutExpired):
        subreaper.kill()
        raise HostError(
            f"cannot end the commands on the host: their subreaper (pid {subreaper.pid}) did not go "
            f"in {_STOP_LIMIT_S:g} s"
        ) from None
    if status > 0:
        raise HostError("cannot end everything that the commands on the host have started", hint="look for it with ps")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn an error of the socket into a sentence."""
    try:
        yield
    except OSError as problem:
        cause = "their subreaper has ended" if isinstance(problem, ConnectionError) else problem.strerror
        raise HostError(f"cannot run commands on the host: {cause}") from problem
