"""The near end of a link: stands in for a program of ours that runs on another host.

It sends and receives what that program does, but for three things: a machine's console comes home into a file here, a
port of that host's is had as one of ours, and a link that breaks is reported as the program's end. It leads a session
of its own and so keeps the link alive also while its caller is stopped. Standard library only.

Source: ssh(1), ssh_config(5).
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

from vmtasks.process.child import die_with_parent
from vmtasks.remote.broken import why_it_broke
from vmtasks.remote.heartbeat import HEARTBEAT_S
from vmtasks.supervisor.control import has_room
from vmtasks.supervisor.plan import Plan, PlanError

_FORWARD_ATTEMPTS = 3
_FORWARD_LIMIT_S = 2.0
"""How long one attempt may take: meanwhile we give no sign of life."""
_SETTLE_LIMIT_S = 120.0
"""How long a host may take to let us in and to run what we send."""
_END_LIMIT_S = 12.0
"""How long to wait for the last word once our caller is gone."""


class Proxy:
    """One program on another host.

    :param ssh: the words of the ssh that reaches it, but for the host and the command.
    :param command: the shell's line that runs the program, once it has what is in the file *payload*.
    """

    def __init__(self, ssh: list[str], host: str, command: str, payload: str) -> None:
        self._ssh = ssh
        self._host = host
        self._payload_file = payload
        self._complaint = tempfile.TemporaryFile()  # noqa: SIM115 - as long as we live
        parent = os.getpid()
        self._line = subprocess.Popen(
            [*ssh, host, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaint,
            bufsize=0,
            preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509 - there is but one thread here
        )
        if self._line.stdout is None:
            raise AssertionError("ssh speaks through a pipe")
        self._ours, self._theirs = _PipeLines(0), _PipeLines(self._line.stdout.fileno())
        self._console: IO[bytes] | None = None
        self._qemu_log: IO[bytes] | None = None
        self._forwards: list[str] = []
        self._has_ordered = False
        self._is_settled = False
        self._over = False

    def run(self) -> None:
        """See the program through its life."""
        if self._settle():
            self._pass_on()
        self._line.kill()
        self._line.wait()
        for forward in self._forwards:
            self._control("cancel", forward)

    def _settle(self) -> bool:
        """Have the program there, and return whether it runs; if not, that is told, unless our caller is gone."""
        deadline_s = time.monotonic() + _SETTLE_LIMIT_S
        while (left_s := deadline_s - time.monotonic()) > 0 and not self._theirs.ended:
            ready = select.select([self._ours, self._theirs], [], [], left_s)[0]
            for side in ready:
                side.collect()
            if self._ours.ended:
                return False
            for message in self._messages():
                match message["event"]:
                    case "send":
                        with open(self._payload_file, "rb") as file:  # noqa: PTH123
                            code = file.read()
                        self._send(f"{len(code)}\n".encode() + code)
                    case "ready":
                        self._is_settled = True
                        return True
                    case "unfit":
                        self._emit_exited(f"cannot run machines on {self._host}: {message['error']}")
                        return False
        if self._theirs.ended:
            self._emit_broken()
        else:
            self._emit_exited(f"cannot run machines on {self._host}: it has not answered for {_SETTLE_LIMIT_S:g} s")
        return False

    def _pass_on(self) -> None:
        """Pass on what comes from either side, until one of them ends."""
        ours, theirs = self._ours, self._theirs
        deadline_s = beat_s = 0.0
        while not self._over:
            self._send(b"".join(self._order(line) + b"\n" for line in ours.lines()))
            try:
                for message in self._messages():
                    self._hear(message)
            except (AttributeError, KeyError, TypeError, ValueError) as problem:
                self._emit_exited(f"cannot understand what {self._host} says: {problem!r}")
                return
            if ours.ended and not deadline_s:
                deadline_s = time.monotonic() + _END_LIMIT_S
                self._close_line()
            if theirs.ended or (ours.ended and time.monotonic() > deadline_s):
                break
            if time.monotonic() >= beat_s and not ours.ended:
                beat_s = time.monotonic() + HEARTBEAT_S
                self._send(b"\n")
            for side in select.select([side for side in (ours, theirs) if not side.ended], [], [], HEARTBEAT_S)[0]:
                side.collect()
        if not (self._over or ours.ended):
            self._emit_broken()

    def _order(self, line: bytes) -> bytes:
        """Return what the program is sent for a line of our caller's; a plan's logs stay on this side."""
        if self._has_ordered:
            return line
        self._has_ordered = True
        try:
            plan = Plan.from_json(line)
        except PlanError:  # another program's first line; or the supervisor says what is wrong with its plan
            return line
        # Both for as long as we live.
        paths = (plan.console or os.devnull, plan.qemu_log)
        self._console, self._qemu_log = (open(path, "ab", buffering=0) for path in paths)  # noqa: SIM115, PTH123
        return plan._replace(console=None, qemu_log=f"{plan.directory}/qemu.log").to_json().encode()

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Yield the messages that came from the program; what a shell prints first, a greeting, is passed over."""
        for line in self._theirs.lines():
            with suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict) and "event" in message:
                    yield message

    def _hear(self, message: dict[str, Any]) -> None:
        """Pass on a message of the program's; a machine's logs stay with us, and its ports become ours."""
        match message["event"]:
            case "console":
                if self._console:
                    _keep(self._console, message["text"].encode("latin-1"))
                return
            case "sample" if not has_room():  # a caller that is stopped can do without, and we must not wait for it
                return
            case "started":
                there = message["ports_there"] = message["ports"]
                message["ports"] = {guest: self._at_home(port) for guest, port in there.items()}
                if not all(message["ports"].values()):
                    self._emit_exited(f"cannot reach machines on {self._host}: ssh did not forward a port of it")
                    return
            case "exited":
                self._over = True
                if self._qemu_log:
                    _keep(self._qemu_log, message["qemu"].encode())
        emit(message)

    def _at_home(self, port: int) -> int:
        """Return a port of this host that leads to one of the other; 0 if there is no way."""
        for _ in range(_FORWARD_ATTEMPTS):
            with socket.create_server(("127.0.0.1", 0)) as free:
                ours = int(free.getsockname()[1])
            forward = f"127.0.0.1:{ours}:127.0.0.1:{port}"
            if self._control("forward", forward):  # if not, another process was quicker to take it
                self._forwards.append(forward)
                return ours
        return 0

    def _control(self, command: str, forward: str) -> bool:
        """Have the link's ssh begin or end a forward, and return whether it did."""
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [*self._ssh, "-O", command, "-L", forward, self._host],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_FORWARD_LIMIT_S,
                check=False,
            )
            return done.returncode == 0
        return False

    def _send(self, data: bytes) -> None:
        with suppress(BrokenPipeError):  # its end is told where it is heard
            while data and self._line.stdin and not self._line.stdin.closed:
                data = data[self._line.stdin.write(data) or 0 :]

    def _close_line(self) -> None:
        with suppress(BrokenPipeError):
            if self._line.stdin:
                self._line.stdin.close()

    def _emit_broken(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._line.wait(HEARTBEAT_S)
        self._complaint.seek(0)
        complaint = self._complaint.read().decode(errors="replace")
        self._emit_exited(*why_it_broke(self._host, complaint, self._line.poll(), is_settled=self._is_settled))

    def _emit_exited(self, error: str, hint: str = "") -> None:
        self._over = True
        emit_exited(error, hint)


def emit(message: dict[str, Any]) -> None:
    """Send our caller a message."""
    with suppress(BrokenPipeError):  # it is gone: that is noticed where it is heard
        sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
        sys.stdout.buffer.flush()


def emit_exited(error: str, hint: str = "") -> None:
    """Report that there is nothing at the other end, with the message of a supervisor that ends."""
    emit(
        {"event": "exited", "status": None, "by_itself": False, "qemu": "", "console": "", "error": error, "hint": hint}
    )


class _PipeLines:
    """What comes out of a pipe, by lines."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._received = b""
        self.ended = False

    def fileno(self) -> int:
        """Return the descriptor to select on."""
        return self._fd

    def collect(self) -> None:
        """Take in what can be read now."""
        data = os.read(self._fd, 65536)
        self._received += data
        self.ended = not data

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that are complete, each once."""
        while b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            yield line


def _keep(log: IO[bytes], data: bytes) -> None:
    with suppress(OSError):  # a full disk must not cost the machine: a log is evidence, not the run
        log.write(data)


def main() -> None:
    """Be the proxy that the command line makes us: host, command, payload, and the words of the ssh."""
    host, command, payload, *ssh = sys.argv[1:]
    try:
        proxy = Proxy(ssh, host, command, payload)
    except OSError as problem:
        emit_exited(f"cannot call {ssh[0]} as ssh: {problem.strerror}", "VMTASKS_SSH says what is called")
        return
    proxy.run()
