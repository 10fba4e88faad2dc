"""The switch of a group: a program that passes Ethernet frames between the machines of one group.

It needs nothing but python3. Each port is a UNIX socket in a directory that only its user can enter; QEMU's ``-netdev
stream`` connects to it and sends frames, each behind its length (four bytes, the highest first). Another process that
connects to a port takes it over: a machine that is booted again is a new QEMU.

Its standard input is its line to the caller, a JSON object a line: first ``directory``, which it makes, and ``ports``
(names, which are the sockets'); then requests, each with an ``id``: ``pairs`` (of names: from, to) and ``link`` (the
fields of :class:`~vmtasks.group.forwarding.Link`). An empty line is a sign of life. On standard output it says
``{"event": "answer", "id": ...}`` once a request is in effect; the first answer has the id 0: all ports are there. When
its standard input closes, for whatever reason, it ends and takes the directory along.
"""

# Up in milliseconds; pathlib need not be loaded for a few names.
# ruff: noqa: PTH102, PTH118

from __future__ import annotations

import heapq
import itertools
import json
import os
import random
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress

from vmtasks.group.forwarding import AT_ONCE, Forwarding, Link
from vmtasks.process.child import drop_privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_LENGTH_BYTES = 4
_HEADER_BYTES = 14
LONGEST_BYTES = 4096 + 65536
"""The longest frame that QEMU has (NET_BUFSIZE)."""
_CHUNK_BYTES = 256 * 1024
WAITING_BYTES = 1024 * 1024
"""What a port holds for a machine that does not read; more is dropped: a slow member must not stop the others."""


class Port:
    """A place for one machine."""

    def __init__(self, name: str, listener: socket.socket) -> None:
        self.name = name
        self.listener = listener
        self.peer: socket.socket | None = None
        self.received = b""
        self.pending: list[bytes] = []
        self.pending_bytes = 0
        self.is_watched = False
        """Whether the loop waits for the machine to take more."""

    def add(self, piece: bytes) -> None:
        """Have a frame, with its length, go out next."""
        if self.peer is not None and self.pending_bytes + len(piece) <= WAITING_BYTES:
            self.pending.append(piece)
            self.pending_bytes += len(piece)

    def pieces(self, data: bytes) -> list[bytes]:
        """Return the frames, with their lengths, that are whole by now.

        :raise ValueError: it is not QEMU that sends this.
        """
        data = self.received + data
        found, at, end = [], 0, len(data)
        while end - at >= _LENGTH_BYTES:
            size = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
            if size > LONGEST_BYTES:
                raise ValueError("no frame is as long")
            after = at + _LENGTH_BYTES + size
            if after > end:
                break
            if size >= _HEADER_BYTES:
                found.append(data[at:after])
            at = after
        self.received = data[at:]
        return found


class Switch:
    """All ports, and the loop that serves them."""

    def __init__(self, directory: str, names: list[str]) -> None:
        self._loop = selectors.DefaultSelector()
        self._forwarding = Forwarding(names, random.random)
        self._ports: dict[str, Port] = {}
        self._delayed: list[tuple[float, int, str, str, bytes]] = []
        self._serials = itertools.count()
        self._requests = b""
        self._touched: set[Port] = set()
        """Those that have something to send."""
        for name in names:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            listener.bind(os.path.join(directory, name))
            listener.listen()
            self._ports[name] = port = Port(name, listener)
            self._loop.register(listener, selectors.EVENT_READ, (self._accept, port))

    def serve(self, control: int) -> None:
        """Pass frames on until the caller lets go of the *control* line."""
        os.set_blocking(control, False)
        self._loop.register(control, selectors.EVENT_READ, None)
        while True:
            wait_s = max(0.0, self._delayed[0][0] - time.monotonic()) if self._delayed else None
            for key, ready in self._loop.select(wait_s):
                if key.data is None:
                    if not self._obey(control):
                        return
                    continue
                act, port = key.data
                act(port, ready)
            self._deliver_delayed()
            for port in self._touched:
                self._flush(port)
            self._touched.clear()

    def _obey(self, control: int) -> bool:
        """Carry out the requests that have come; return whether the caller is still there."""
        data = os.read(control, _CHUNK_BYTES)
        *lines, self._requests = (self._requests + data).split(b"\n")
        for line in filter(None, lines):
            request = json.loads(line)
            self._forwarding.change(map(tuple, request["pairs"]), Link(**request["link"]))
            _answer(request["id"])
        return bool(data)

    def _accept(self, port: Port, _: int) -> None:
        peer, _ = port.listener.accept()
        peer.setblocking(False)
        self._unplug(port)
        port.peer = peer
        self._loop.register(peer, selectors.EVENT_READ, (self._exchange, port))

    def _unplug(self, port: Port) -> None:
        if port.peer is not None:
            self._loop.unregister(port.peer)
            port.peer.close()
        port.peer, port.received, port.pending, port.pending_bytes, port.is_watched = None, b"", [], 0, False

    def _exchange(self, port: Port, ready: int) -> None:
        """Take what a machine sends, and remember to send it what waits."""
        if ready & selectors.EVENT_WRITE:
            self._touched.add(port)
        if not ready & selectors.EVENT_READ or port.peer is None:
            return
        try:
            data = port.peer.recv(_CHUNK_BYTES)
            pieces = port.pieces(data)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            data, pieces = b"", []
        if not data:
            self._unplug(port)
            return
        now_s = time.monotonic()
        for piece in pieces:
            for name, due_s in self._forwarding.forward(port.name, piece[_LENGTH_BYTES:], now_s):
                if due_s == AT_ONCE:
                    target = self._ports[name]
                    target.add(piece)
                    self._touched.add(target)
                else:
                    heapq.heappush(self._delayed, (due_s, next(self._serials), port.name, name, piece))

    def _deliver_delayed(self) -> None:
        now_s = time.monotonic()
        while self._delayed and self._delayed[0][0] <= now_s:
            _, _, source, name, piece = heapq.heappop(self._delayed)
            if not self._forwarding.is_cut(source, name):
                self._ports[name].add(piece)
                self._touched.add(self._ports[name])

    def _flush(self, port: Port) -> None:
        """Send as much as the machine takes now, and see that the rest follows."""
        if port.peer is None:
            return
        data = b"".join(port.pending)
        try:
            sent = port.peer.send(data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._unplug(port)
            return
        rest = data[sent:]
        port.pending, port.pending_bytes = [rest] if rest else [], len(rest)
        if bool(rest) != port.is_watched:
            port.is_watched = bool(rest)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if rest else 0)
            self._loop.modify(port.peer, events, (self._exchange, port))


def _answer(serial: int) -> None:
    with suppress(BrokenPipeError):  # a caller that no longer reads has closed its end too: that is noticed there
        os.write(sys.stdout.fileno(), json.dumps({"event": "answer", "id": serial}).encode() + b"\n")


def main() -> NoReturn:
    """Read the plan from standard input, and be the switch until it closes."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # a terminal's signals are for the caller, and its end is ours
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    drop_privileges()
    first = b""
    while not first.strip() or not first.endswith(b"\n"):
        data = os.read(sys.stdin.fileno(), 1)
        if not data:
            sys.exit(0)
        first += data
    plan: dict[str, Any] = json.loads(first)
    directory = plan["directory"]
    os.mkdir(directory, mode=0o700)
    try:
        switch = Switch(directory, plan["ports"])
        _answer(0)
        switch.serve(sys.stdin.fileno())
    finally:
        import shutil  # it comes with three compressors, which no machine's start should wait for

        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(0)


if __name__ == "__main__":
    main()
