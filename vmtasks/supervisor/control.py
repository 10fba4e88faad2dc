"""The supervisor's end of its line to the caller."""

from __future__ import annotations

import fcntl
import json
import os
import select
import sys
import termios
from contextlib import suppress

from vmtasks.qemu.qmp import Qmp
from vmtasks.supervisor.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_UNREAD_BYTES = 16384
"""How much may lie unread in the pipe, which takes four times as much."""


class CallerGone(Exception):
    """The caller is gone, or asked us to go."""


def emit(event: str, **fields: object) -> None:
    """Send one event to the caller."""
    data = json.dumps({"event": event, **fields}).encode() + b"\n"
    with suppress(BrokenPipeError):  # a caller that no longer reads has closed its end too: that is noticed there
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]


def has_room() -> bool:
    """Tell whether the caller reads what it is sent: one that is stopped does not, and we must not wait for it.

    To be asked before something is sent that it can do without. Source: FIONREAD of ioctl(2), pipe(7).
    """
    unread = fcntl.ioctl(sys.stdout.fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(unread, sys.byteorder) < _UNREAD_BYTES


class ControlChannel:
    """Requests from the caller, read from standard input without ever waiting for them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._received = b""
        self.keeps = False
        """Whether the caller wants what the machine has written."""

    def fileno(self) -> int:
        """Return the descriptor to select on."""
        return self._fd

    def plan(self) -> Plan:
        """Wait for the first line; that one the caller sends at once.

        :raise PlanError: it is no plan.
        :raise CallerGone: there is none, or behind it a request to stop.
        """
        while not (lines := self._lines()):
            pass
        plan, *early = lines
        self._refuse([json.loads(line) for line in early])
        return Plan.from_json(plan)

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests that have come in.

        :raise CallerGone: standard input has ended.
        """
        return [json.loads(line) for line in self._lines()]

    def _lines(self) -> list[bytes]:
        data = os.read(self._fd, 65536)
        if not data:
            raise CallerGone
        *lines, self._received = (self._received + data).split(b"\n")
        return [line for line in lines if line.strip()]

    def wait(self, wait_s: float, *until: Qmp | int) -> None:
        """Let *wait_s* seconds pass before QEMU serves, less if one of *until* can be read or the caller goes.

        :raise CallerGone: standard input has ended, or asks us to stop.
        """
        watched: list[Any] = [self, *until]
        if self in select.select(watched, [], [], wait_s)[0]:
            self._refuse(self.requests())

    def _refuse(self, requests: list[dict[str, Any]]) -> None:
        for request in requests:
            if request["do"] == "stop":
                raise CallerGone
            emit("answer", id=request["id"], error="QEMU does not run yet")


def os_error_text(problem: OSError) -> str:
    """Describe what the kernel refused, of which file."""
    if problem.strerror is None:  # one of ours, which is a sentence already
        return str(problem)
    return f"{problem.filename}: {problem.strerror}" if problem.filename else problem.strerror
