"""A QEMU Machine Protocol client that never waits without a limit.

Standard library only, because it rides with the supervisor to hosts that have nothing but python3; that,
and a supervisor that is one synchronous loop, is why it is not the asyncio package ``qemu.qmp``.
Source: QEMU's docs/interop/qmp-spec.rst.
"""

from __future__ import annotations

import json
import re
import select
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024


class QmpError(OSError):
    """QEMU refused a command, closed the line, did not answer in time, or sent what is no message."""


class Qmp:
    """One conversation with one QEMU over a connected stream socket."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.events: list[dict[str, Any]] = []
        """Asynchronous events that have come in, oldest first; their reader empties the list."""
        self._answers: list[dict[str, Any]] = []
        self._received = b""
        self._serial = 0
        line.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to select on; when it is readable, call :meth:`pump`."""
        return self.line.fileno()

    def greet(self, timeout_s: float) -> str:
        """Leave capabilities negotiation; return QEMU's version as ``MAJOR.MINOR.MICRO``.

        :raise QmpError: QEMU did not greet within *timeout_s* seconds, or ended.
        """
        deadline_s = time.monotonic() + timeout_s
        greeting = self._answer(deadline_s, awaiting="its greeting")
        try:
            version = "{major}.{minor}.{micro}".format(**greeting["QMP"]["version"]["qemu"])
        except (KeyError, TypeError) as problem:
            raise QmpError(f"what answers is not QEMU: {_short(json.dumps(greeting).encode())}") from problem
        self.execute("qmp_capabilities", timeout_s=deadline_s - time.monotonic())
        return version

    def execute(
        self, command: str, arguments: dict[str, Any] | None = None, *, timeout_s: float, fd: int | None = None
    ) -> Any:  # noqa: ANN401
        """Run one command and return what it returns.

        :param timeout_s: seconds to wait for the answer.
        :param fd: a descriptor to send along (``getfd``).
        :raise QmpError: the command was refused, was not answered in time, or QEMU ended.
        """
        self._serial += 1
        request = {"execute": command, "arguments": arguments or {}, "id": self._serial}
        self._send(json.dumps(request).encode() + b"\n", command, fd)
        deadline_s = time.monotonic() + timeout_s
        # An answer with another id is to a command that timed out before: no caller waits for it any more.
        while (answer := self._answer(deadline_s, awaiting=f"the answer to {command}")).get("id") != self._serial:
            pass
        if "return" in answer:
            return answer["return"]
        error = answer.get("error")
        raise QmpError(f"QEMU refused {command}: {error.get('desc') if isinstance(error, dict) else error}")

    def human(self, command_line: str, *, timeout_s: float) -> str:
        """Run a command of the human monitor and return its text."""
        return str(self.execute("human-monitor-command", {"command-line": command_line}, timeout_s=timeout_s))

    def pump(self) -> None:
        """Take in what has arrived without waiting, for its events.

        :raise QmpError: QEMU closed the line, or sent what is no message.
        """
        self._receive()
        self._answers.clear()  # no caller waits for them any more

    def _send(self, data: bytes, command: str, fd: int | None) -> None:
        try:
            # A command is far smaller than the socket's buffer: it goes as a whole.
            self.line.sendall(data) if fd is None else socket.send_fds(self.line, [data], [fd])
        except OSError as problem:
            raise QmpError(f"cannot send {command} to QEMU: {problem.strerror}") from problem

    def _answer(self, deadline_s: float, *, awaiting: str) -> dict[str, Any]:
        while not self._answers:
            left_s = deadline_s - time.monotonic()  # which passes also while there are events and no answer
            if left_s < 0 or not select.select([self.line], [], [], left_s)[0]:
                raise QmpError(f"QEMU did not send {awaiting} in time")
            self._receive()
        return self._answers.pop(0)

    def _receive(self) -> None:
        """Take in all that has arrived: an event behind an answer would otherwise lie there unheard."""
        try:
            data = self.line.recv(65536)
        except BlockingIOError:
            return
        except OSError as problem:
            raise QmpError(f"lost QEMU's control line: {problem.strerror}") from problem
        if not data:
            raise QmpError("QEMU closed its control line")
        *lines, self._received = (self._received + data).split(b"\n")
        if len(self._received) > MESSAGE_LIMIT_BYTES:
            raise QmpError(f"QEMU sent a message of more than {MESSAGE_LIMIT_BYTES >> 20} MiB")
        for line in lines:
            message = _parsed(line)
            (self.events if "event" in message else self._answers).append(message)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise QmpError(f"QEMU sent what is no message: {_short(line)}")
    return message


def _short(line: bytes) -> str:
    return line[:80].decode(errors="replace").strip()


_FORWARD = re.compile(r"^\s*TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)", re.MULTILINE)


def ports_of(network: str) -> dict[str, int]:
    """Return the ports that QEMU picked, by those of the guest, from the output of ``info usernet``."""
    return {guest: int(host) for host, guest in _FORWARD.findall(network)}
