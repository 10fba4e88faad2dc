"""Where a person attaches to the console of a machine that runs: a socket in the machine's directory.

What comes from there is typed on the console, byte for byte; what the guest prints goes to all who are attached, from
its last lines on. The log gets it as ever. Standard library only, because it rides with the supervisor.

Landlock lets a QEMU connect to any socket that has a name in a directory of its user's, also of another machine. So the
name is a secret: only who may list the directory has it, and that no other machine's QEMU may. What a socket was bound
to the kernel tells everybody (/proc/net/unix), and not how its file is called afterwards. Source: unix(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import ExitStack, suppress

from vmtasks.files.short_name import short_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vmtasks.supervisor.console import Console

PREFIX = "console-"
MOST = 16
"""How many may be attached at a time: those beyond are hung up on."""
_READ_BYTES = 4096
_CREDENTIALS = struct.Struct("3i")
_SEND_BYTES = 1 << 20
"""How far behind a terminal may be before text is left out for it: a guest must not wait for a person."""


class ConsoleSocket:
    """Those who are attached to a machine's console.

    :param console: what they type on; its text comes from the supervisor, see :meth:`show`.
    :param directory: the machine's; only its owner and root can enter it.
    """

    def __init__(self, console: Console, directory: str) -> None:
        self._console = console
        self._attached: list[_Attached] = []
        self._listener: socket.socket | None = None
        with suppress(OSError):  # a file system without sockets costs the attaching, not the machine
            self._listener = _listen(directory)

    def waits_for(self) -> list[Any]:
        """Return what is to be read from; nothing of a person's whose last keys the guest has not taken."""
        if self._listener is None:
            return []
        return [self._listener, *(one for one in self._attached if not one.keys)]

    def waits_for_room(self) -> list[Any]:
        """Return what is to be written to: the console, if keys wait for it."""
        return [self._console] if any(one.keys for one in self._attached) else []

    def serve(self, ready: Iterable[Any]) -> None:
        """Let in who has come, and type what was sent; *ready* is what can be read."""
        if self._listener is not None and self._listener in ready:
            self._let_in(self._listener)
        for one in [one for one in self._attached if one in ready]:
            if not one.read():
                self._attached.remove(one)
        for one in self._attached:
            one.type(self._console.type_in)

    def show(self, data: bytes) -> None:
        """Send what the guest has printed to all who are attached."""
        for one in self._attached:
            one.show(data)

    def close(self) -> None:
        """Hang up."""
        for one in self._attached:
            one.close()
        self._attached.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _let_in(self, listener: socket.socket) -> None:
        try:
            line, _ = listener.accept()
        except OSError:  # gone again
            return
        if len(self._attached) >= MOST or _user_of(line) not in {0, os.geteuid()}:
            line.close()
            return
        line.setblocking(False)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        one = _Attached(line)
        one.show(self._console.last_lines())
        self._attached.append(one)


class _Attached:
    """One who is attached."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._missed_bytes = 0
        self.keys = b""
        """What the guest has yet to take."""

    def fileno(self) -> int:
        return self._line.fileno()

    def read(self) -> bool:
        """Take in what was typed; return whether there may be more."""
        try:
            self.keys = self._line.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            self.keys = b""
        if not self.keys:
            self.close()
        return bool(self.keys)

    def type(self, type_in: Callable[[bytes], int]) -> None:
        try:
            self.keys = self.keys[type_in(self.keys) :] if self.keys else b""
        except OSError:  # QEMU has closed its end, which is told elsewhere
            self.keys = b""

    def show(self, data: bytes) -> None:
        """Send *data* as far as there is room, and say what was left out as soon as there is again."""
        if self._missed_bytes:
            note = f"\r\n[{self._missed_bytes} bytes left out: they were not read in time]\r\n".encode()
            if self._send(note) < len(note):
                self._missed_bytes += len(data)
                return
            self._missed_bytes = 0
        self._missed_bytes = len(data) - self._send(data)

    def _send(self, data: bytes) -> int:
        try:
            return self._line.send(data) if data else 0
        except BlockingIOError:
            return 0
        except OSError:  # gone: the next look at what it sends tells
            return len(data)

    def close(self) -> None:
        self._line.close()


def connect(directory: str) -> socket.socket:
    """Return a connection to the console of the machine with this directory.

    :raise OSError: it takes none.
    """
    line = socket.socket(socket.AF_UNIX)
    with ExitStack() as stack:
        stack.callback(line.close)
        with short_name(directory) as path:
            names = [name for name in os.listdir(path) if name.startswith(PREFIX)]
            if not names:
                raise FileNotFoundError(errno.ENOENT, "it has no socket for that", directory)
            line.connect(f"{path}/{names[0]}")
        stack.pop_all()
    return line


def _listen(directory: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    with ExitStack() as stack:
        stack.callback(listener.close)
        with short_name(directory) as path:
            told = f"{path}/bound-{os.urandom(16).hex()}"
            listener.bind(told)
            listener.listen(MOST)
            os.rename(told, f"{path}/{PREFIX}{os.urandom(16).hex()}")
        listener.setblocking(False)
        stack.pop_all()
    return listener


def _user_of(line: socket.socket) -> int:
    """Return the number of the user at the other end."""
    _, user, _ = _CREDENTIALS.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(user)
