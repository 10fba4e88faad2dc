r"""A program that stands in for ``qemu-system-*``: QEMU's manners on its control line, and no machine behind them.

It reads of QEMU's command line what the supervisor depends on (``-chardev socket,id=control,fd=N`` and
``id=console``, ``hostfwd=`` of a user network, ``-S``) and passes over all else. It forwards to nobody, as QEMU
does for a guest that does not listen: connections are accepted and nothing comes.

Where it shall differ from a healthy QEMU, ``-script JSON`` says so: a moment, and what to do then. A moment is
``start`` (before the greeting), ``SIGTERM``, or the name of a QMP command; the usual answer follows, and what was
sent to the control line goes out with it. ::

    {"start": [["complain", "no such disk"], ["exit", 1]]}         ends at once
    {"start": [["ignore"]]}                                        never greets
    {"quit": [["ignore"]], "SIGTERM": [["ignore"]]}                must be killed
    {"human-monitor-command": [["say", "Kernel panic"]]}           panics as soon as it is asked for its ports
    {"cont": [["event", "BLOCK_IO_ERROR", {"reason": "..."}]]}     an event, in front of the answer
    {"query-status": [["send", "?!"]]}                             a line that is no message
    {"cont": [["open", "/etc/passwd", "r"]]}                       complains of what came of it; "w": to write
    {"query-status": [["after", "event", "STOP", {}]]}             any of these, but behind the answer
    {"query-status": [["flood", "all work and no play\n"]]}         on the console, without end
    {"stop": [["reset"]]}                                          the guest resets its machine
    {"cont": [["echo"]]}                                           what is typed on the console comes back
    {"migrate": [["event", "MIGRATION", {"status": "failed"}]]}    instead of one that is completed at once
    {"query-stats": [["answer", [{"provider": "kvm"}]]]}            instead of the usual answer

Limitations: one command a line, each with an id; no out-of-band execution; of the human monitor, ``info usernet`` only.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

VERSION = {"major": 7, "minor": 2, "micro": 22}
_PACKAGE = "fake"
_EXPECTING = "Expecting capabilities negotiation with 'qmp_capabilities'"
_COMPLETE = "Capabilities negotiation is already complete, command ignored"
_COLUMNS = "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
_FORWARD = re.compile(r"hostfwd=tcp:([\d.]*):(\d+)-([\d.]*):(\d+)")

_QUIT = {"guest": False, "reason": "host-qmp-quit"}
FILES = (os.path.abspath(__file__), sys.prefix, sys.base_prefix)  # noqa: PTH100
"""What the fake has to read."""
Act = Sequence[Any]
Script = Mapping[str, Sequence[Act]]
"""What to do at which moment; see above."""


def command(script: Script | None = None) -> list[str]:
    """Return the beginning of a command line that runs the fake; QEMU's own options follow."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), "-script", json.dumps(script or {})]  # noqa: PTH100


class Refused(Exception):
    """The error that answers a command."""

    def __init__(self, desc: str, kind: str = "GenericError") -> None:
        super().__init__(desc)
        self.answer = {"error": {"class": kind, "desc": desc}}


class FakeQemu:
    """One QEMU process: its control line, its console, its forwarded ports."""

    def __init__(self, argv: Sequence[str]) -> None:
        options = list(itertools.pairwise(argv))
        self._script: Script = json.loads(next((value for option, value in options if option == "-script"), "{}"))
        self._control = _socket(options, "control")
        self._console = _socket(options, "console")
        self._forwards = [
            (socket.create_server((host, int(port))), guest or "10.0.2.15", int(guest_port))
            for option, value in options
            if option in {"-netdev", "-nic"}
            for host, port, guest, guest_port in _FORWARD.findall(value)
        ]
        self._status = "prelaunch" if "-S" in argv else "running"
        self._negotiated = False
        self._ends_at_reset = self._has_ended = False
        self._outgoing: list[bytes] = []

    def serve(self) -> NoReturn:
        """Greet, and answer until the line closes; QEMU outlives that."""
        signal.signal(signal.SIGTERM, lambda *_: self._terminate())
        if self._act("start"):
            self._send({"QMP": {"version": {"qemu": VERSION, "package": _PACKAGE}, "capabilities": ["oob"]}})
            self._flush()
            for line in self._control.makefile("rb"):
                self._serve_one(line)
        while True:
            signal.pause()

    def _serve_one(self, line: bytes) -> None:
        try:
            request = json.loads(line)
        except ValueError:
            self._send({"error": {"class": "GenericError", "desc": "JSON parse error"}})
            self._flush()
            return
        name = request["execute"]
        if as_usual := self._act(name):
            self._send({**self._answer(name, request.get("arguments", {})), "id": request["id"]})
        for act in self._acts(name, behind=True):
            self._do(*act)
        self._flush()
        if self._has_ended or (name == "quit" and as_usual):
            os._exit(0)

    def _answer(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        for act in self._acts(name, behind=False):
            if act[0] == "answer":
                return {"return": act[1]}
        try:
            return {"return": self._execute(name, arguments)}
        except Refused as refusal:
            return refusal.answer

    def _execute(self, name: str, arguments: Mapping[str, Any]) -> object:  # noqa: C901, PLR0912 - one branch for each command
        if self._negotiated == (name == "qmp_capabilities"):
            raise Refused(_COMPLETE if self._negotiated else _EXPECTING, "CommandNotFound")
        match name:
            case "qmp_capabilities":
                self._negotiated = True
            case "query-blockstats" | "query-stats":  # it has no drives, and is not KVM
                return []
            case "query-status":
                return {"status": self._status, "singlestep": False, "running": self._status == "running"}
            case "cont" if self._status != "running":
                self._status = "running"
                self._do("event", "RESUME")
            case "stop" if self._status == "running":
                self._status = "paused"
                self._do("event", "STOP")
            case "cont" | "stop" | "migrate-set-capabilities" | "getfd" | "blockdev-snapshot-sync":
                pass  # so it is already, or nobody sees it
            case "migrate" | "migrate-incoming":
                if name not in self._script:  # which else says how it ends
                    self._do("event", "MIGRATION", {"status": "completed"})
            case "human-monitor-command":
                return self._human(arguments)
            case "set-action":
                self._ends_at_reset = arguments["reboot"] == "shutdown"
            case "quit":
                self._do("event", "SHUTDOWN", _QUIT)
            case "system_reset":
                self._reset(by_guest=False)
            case _:
                raise Refused(f"The command {name} has not been found", "CommandNotFound")
        return {}

    def _reset(self, *, by_guest: bool) -> None:
        reason = "guest-reset" if by_guest else "host-qmp-system-reset"
        self._do("event", "SHUTDOWN" if self._ends_at_reset else "RESET", {"guest": by_guest, "reason": reason})
        self._has_ended = self._ends_at_reset

    def _human(self, arguments: Mapping[str, Any]) -> str:
        if "command-line" not in arguments:
            raise Refused("Parameter 'command-line' is missing")
        if arguments["command-line"] != "info usernet":
            return f"unknown command: '{arguments['command-line']}'\r\n"
        rows = [
            f"  TCP[HOST_FORWARD] {server.fileno():3} {server.getsockname()[0]:>15} {server.getsockname()[1]:5}"
            f" {guest:>15} {port:5} {0:5} {0:5}\r\n"
            for server, guest, port in self._forwards
        ]
        return "".join(["Hub -1 (net):\r\n", _COLUMNS, *rows]) if rows else ""

    def _terminate(self) -> None:
        if self._act("SIGTERM"):
            os._exit(0)

    def _act(self, moment: str) -> bool:
        """Do what the script says for this moment; return whether to go on as usual."""
        acts = list(self._acts(moment, behind=False))
        for act in acts:
            self._do(*act)
        return ["ignore"] not in acts

    def _acts(self, moment: str, *, behind: bool) -> Iterator[Act]:
        for act in self._script.get(moment, ()):
            if (act[0] == "after") == behind:
                yield act[1:] if behind else act

    def _do(self, verb: str, *details: Any) -> None:  # noqa: C901 - one branch for each verb
        match verb, details:
            case "complain", (text,):
                sys.stderr.write(f"qemu-system-fake: {text}\n")
                sys.stderr.flush()
            case "reset", ():
                self._reset(by_guest=True)
            case "open", (path, mode):
                self._do("complain", f"{path}: {_opened(path, mode)}")
            case "say", (text,):
                self._console.sendall(text.encode())
            case "flood", (text,):
                threading.Thread(target=_flood, args=(self._console, text.encode()), daemon=True).start()
            case "echo", ():
                threading.Thread(target=_echo, args=(self._console,), daemon=True).start()
            case "event", (name, *data):
                seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
                stamp = {"seconds": seconds, "microseconds": microseconds}
                self._send({"timestamp": stamp, "event": name, **({"data": data[0]} if data else {})})
            case "send", (text,):
                self._outgoing.append(text.encode() + b"\r\n")
            case "exit", (status,):
                os._exit(status)
            case ("ignore", ()) | ("answer", (_,)):
                pass  # what would have come is left out, or another answer comes
            case _:
                raise ValueError(f"cannot follow the script: {verb} {details}")

    def _send(self, message: Mapping[str, Any]) -> None:
        self._outgoing.append(json.dumps(message).encode() + b"\r\n")

    def _flush(self) -> None:
        """Send all in one piece, so that what is behind an answer arrives with it."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        with suppress(BrokenPipeError):
            self._control.sendall(data)


def _socket(options: Iterable[tuple[str, str]], name: str) -> socket.socket:
    for option, value in options:
        kind, *words = value.split(",")
        settings = dict(word.split("=", 1) for word in words if "=" in word)
        if option == "-chardev" and kind == "socket" and settings.get("id") == name:
            return socket.socket(fileno=int(settings["fd"]))
    raise SystemExit(f"qemu-system-fake: cannot start without -chardev socket,id={name},fd=N")


def _opened(path: str, mode: str) -> str:
    """Return what came of opening a file to read or, with "w", to write."""
    try:
        os.close(os.open(path, os.O_RDONLY if mode == "r" else os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as problem:
        return str(problem.strerror)
    return "opened"


def _flood(console: socket.socket, text: bytes) -> None:
    with suppress(OSError):
        while True:
            console.sendall(text)


def _echo(console: socket.socket) -> None:
    with suppress(OSError):
        while data := console.recv(4096):
            console.sendall(data)


def main() -> NoReturn:
    """Be QEMU."""
    FakeQemu(sys.argv[1:]).serve()


if __name__ == "__main__":
    main()
