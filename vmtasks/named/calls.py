"""What a call does about a named machine: start its keeper, give it more time, end it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from vmtasks import errors
from vmtasks.errors import HostError, VmtasksError
from vmtasks.named import control, registry
from vmtasks.named.present import ready
from vmtasks.named.registry import NamedMachine
from vmtasks.process.isolated import PACKAGE_PARENT

END_LIMIT_S = 30.0
"""How long a keeper may take to end its machine: more than a supervisor may."""
_KILL_LIMIT_S = 5.0
_ANSWER_BYTES = 65536
_PROGRAM = "import sys; sys.path.insert(0, sys.argv.pop(1)); from vmtasks.named.keeper import main; main()"


def keeper_argv() -> list[str]:
    """Return the command line of a keeper, without its descriptors; no directory of the caller's is looked in."""
    return [sys.executable, "-P", "-c", _PROGRAM, PACKAGE_PARENT]


def start(order_line: str) -> None:
    """Have a keeper boot a machine, and return when that is there.

    :param order_line: what the keeper is told: :meth:`vmtasks.named.keeper.Order.to_json`.
    :raise VmtasksError: it did not come to be there; nothing is left of it.
    """
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb", buffering=0) as answer:
        try:
            keeper = _started(order_line, theirs)
        finally:
            os.close(theirs)
        try:
            line = _line_of(answer.fileno())
            if not line:
                raise HostError("cannot keep the machine: the process that was to keep it ended without a word")
        except BaseException:
            answer.close()  # of which it hears
            _see_out(keeper)
            raise
    if error := json.loads(line):
        _see_out(keeper)
        raise _raised(error)
    keeper.returncode = 0  # it outlives us, of which Popen would complain


def _started(order_line: str, answer: int) -> subprocess.Popen[str]:
    display = os.dup(2)
    try:
        keeper = subprocess.Popen(
            [*keeper_argv(), str(answer), str(display)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(answer, display),
            start_new_session=True,  # Ctrl-C is for us
            text=True,
        )
    except OSError as problem:
        raise HostError(f"cannot start the process that keeps the machine: {problem}") from problem
    finally:
        os.close(display)
    if keeper.stdin is None:
        raise AssertionError("the order goes through a pipe")
    with suppress(BrokenPipeError), keeper.stdin as stdin:  # one that has ended at once has not answered either
        stdin.write(order_line)
    return keeper


def _line_of(fd: int) -> bytes:
    """Return the line that a keeper answers with; empty if it ends without."""
    received = b""
    while not received.endswith(b"\n"):
        data = os.read(fd, _ANSWER_BYTES)
        if not data:
            return b""
        received += data
    return received


def _see_out(keeper: subprocess.Popen[str]) -> None:
    try:
        keeper.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()


def _raised(error: dict[str, Any]) -> VmtasksError:
    kind = getattr(errors, error["kind"], None)
    known = kind if isinstance(kind, type) and issubclass(kind, VmtasksError) else HostError
    return known(error["message"], details=tuple(error["details"]), hint=error["hint"])


def extend(name: str, ttl_s: int) -> NamedMachine:
    """Have a machine live for *ttl_s* seconds from now, and return it.

    :raise HostError: that could not be had.
    :raise VmtasksError: it is not there.
    """
    control.ask(ready(name).directory, do="live", ttl_s=ttl_s)
    return ready(name)


def end(machine: NamedMachine) -> None:
    """End a machine, if it is still there, and forget it.

    :raise HostError: it does not end.
    """
    with suppress(ProcessLookupError):
        keeper = os.pidfd_open(machine.pid)
        try:
            now = registry.find(machine.name)  # the keeper has its lock still: it is no other process of that number
            if now and now.is_alive and now.pid == machine.pid:
                _end_keeper(machine, keeper)
        finally:
            os.close(keeper)
    registry.forget(machine.name)


def _end_keeper(machine: NamedMachine, keeper: int) -> None:
    for number, limit_s in ((signal.SIGTERM, END_LIMIT_S), (signal.SIGKILL, _KILL_LIMIT_S)):
        signal.pidfd_send_signal(keeper, number)
        signal.pidfd_send_signal(keeper, signal.SIGCONT)  # one that was stopped would not hear of it
        if select.select([keeper], [], [], limit_s)[0]:
            return
    raise HostError(f"cannot end the machine '{machine.name}': the process that keeps it ({machine.pid}) does not end")
