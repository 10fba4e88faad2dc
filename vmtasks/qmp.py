"""A QEMU Machine Protocol client that never waits without a limit.

Standard library only, because it rides with the supervisor to hosts that have nothing but python3; that,
and a supervisor that is one synchronous loop, is why it is not the asyncio package ``qemu.qmp``.
Source: QEMU's docs/interop/qmp-spec.rst.
"""

from __future__ import annotations

import json
import select
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class QmpError(OSError):
    """QEMU refused a command, closed the line, or did not answer in time."""


class Qmp:
    """One conversation with one QEMU over a connected stream socket."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.events: list[dict[str, Any]] = []
        """Asynchronous events that have come in, oldest first; whoever reads them empties the list."""
        self._received = b""
        self._serial = 0
        line.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to select on; when it is readable, call :meth:`pump`."""
        return self.line.fileno()

    def greet(self, limit_s: float) -> str:
        """Leave capabilities negotiation; return QEMU's version as ``MAJOR.MINOR.MICRO``.

        :raise QmpError: QEMU did not greet within *limit_s* seconds, or ended.
        """
        greeting = self._message(time.monotonic() + limit_s, awaiting="its greeting")
        version = greeting["QMP"]["version"]["qemu"]
        self.execute("qmp_capabilities", limit_s=limit_s)
        return f"{version['major']}.{version['minor']}.{version['micro']}"

    def execute(self, command: str, arguments: dict[str, Any] | None = None, *, limit_s: float) -> Any:  # noqa: ANN401
        """Run one command and return what it returns.

        :param limit_s: seconds to wait for the answer.
        :raise QmpError: the command was refused, was not answered in time, or QEMU ended.
        """
        self._serial += 1
        request = {"execute": command, "arguments": arguments or {}, "id": self._serial}
        self._send(json.dumps(request).encode() + b"\n", command)
        deadline_s = time.monotonic() + limit_s
        while True:
            message = self._message(deadline_s, awaiting=f"the answer to {command}")
            if "event" in message:
                self.events.append(message)
            elif message.get("id") == self._serial:
                if "error" in message:
                    raise QmpError(f"QEMU refused {command}: {message['error'].get('desc', message['error'])}")
                return message["return"]
            # Anything else answers a command that timed out before: nobody waits for it any more.

    def human(self, command_line: str, *, limit_s: float) -> str:
        """Run a command of the human monitor and return its text."""
        return str(self.execute("human-monitor-command", {"command-line": command_line}, limit_s=limit_s))

    def pump(self) -> None:
        """Take in what has arrived without waiting, for its events.

        :raise QmpError: QEMU closed the line.
        """
        self._receive()
        while (message := self._parsed()) is not None:
            if "event" in message:
                self.events.append(message)

    def _send(self, data: bytes, command: str) -> None:
        try:
            self.line.sendall(data)  # a command is far smaller than the socket's buffer
        except OSError as problem:
            raise QmpError(f"cannot send {command} to QEMU: {problem.strerror}") from problem

    def _message(self, deadline_s: float, *, awaiting: str) -> dict[str, Any]:
        while (message := self._parsed()) is None:
            left_s = max(0.0, deadline_s - time.monotonic())
            if not select.select([self.line], [], [], left_s)[0]:
                raise QmpError(f"QEMU did not send {awaiting} in time")
            self._receive()
        return message

    def _receive(self) -> None:
        try:
            data = self.line.recv(65536)
        except BlockingIOError:
            return
        except OSError as problem:
            raise QmpError(f"lost QEMU's control line: {problem.strerror}") from problem
        if not data:
            raise QmpError("QEMU closed its control line")
        self._received += data

    def _parsed(self) -> dict[str, Any] | None:
        line, newline, rest = self._received.partition(b"\n")
        if not newline:
            return None
        self._received = rest
        message: dict[str, Any] = json.loads(line)
        return message
