"""A port of a guest's own loopback that leads here, over the connection that there is (ssh(1), ``-R``).

The guest needs no network for it, and this host no port: what a connection to that port is joined with may be a UNIX
socket, which no machine reaches by itself. The guest's sshd picks the port, so nothing there can be in its way, such as
the port of an earlier connection that was cut and that the sshd still takes for alive.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from vmtasks.errors import ConnectionLost, HostError
from vmtasks.process.threads import call_in_thread
from vmtasks.ssh.keepalive import turn
from vmtasks.ssh.sending import hang_up, send_all, send_end

if TYPE_CHECKING:
    from fabric import Connection
    from paramiko.channel import Channel

LOOPBACK = "127.0.0.1"
"""Where the port is in the guest: nobody else in its network gets there."""
_ANSWER_LIMIT_S = 60.0
_CHUNK_BYTES = 65536
MOST = 8
"""So many connections are joined at a time: programs in the guest may open more, and each costs two threads here."""

Target = Callable[[], socket.socket]
"""Connects to where the port leads."""


@contextmanager
def reverse_forwarding(connection: Connection, target: Target, watch: Callable[[float], None]) -> Iterator[int]:
    """Yield the number of a port of the guest's loopback that leads to *target* until the end of the block.

    At that end all its connections are closed; so is each at once that comes while there are :data:`MOST`. The port
    itself goes with the guest's connection, and takes none before.

    :param watch: called a few times a second while the guest is asked; what it raises ends the wait.
    :raise HostError: the guest does not forward.
    :raise ConnectionLost: it is gone, or does not answer.
    """
    from paramiko.ssh_exception import SSHException

    transport, joints = connection.transport, _Joints(target)

    def ask() -> int:
        with turn(transport):
            return int(transport.request_port_forward(LOOPBACK, 0, joints.join))

    with closing(joints):
        try:
            port = call_in_thread(ask, timeout_s=_ANSWER_LIMIT_S, watch=watch, give_up=joints.close)
        except (SSHException, EOFError, OSError) as problem:
            if isinstance(problem, SSHException) and transport.is_active():
                raise HostError(
                    "cannot lead a port of the guest here: its sshd does not forward",
                    hint="sshd_config there must allow it: `AllowTcpForwarding yes`, and no `DisableForwarding`",
                ) from problem
            raise ConnectionLost(f"cannot lead a port of the guest here: {problem}") from problem
        yield port


class _Joints:
    """The connections to the port, each joined with one to the target."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._open: set[socket.socket | Channel] = set()
        self._joined = 0
        self._is_closed = False
        self._lock = threading.Lock()

    def join(self, channel: Channel, _origin: tuple[str, int], _server: tuple[str, int]) -> None:
        """Take a connection; called by the thread that reads all that comes from the guest, which must not wait."""
        with self._lock:
            is_taken = self._joined < MOST and not self._is_closed
            self._joined += is_taken
        if is_taken:
            with suppress(RuntimeError):  # this host has no more threads
                threading.Thread(target=self._serve, args=(channel,), name="forwarded", daemon=True).start()
                return
            self._leave()
        _hang_up(channel)

    def close(self) -> None:
        """Close all, and whatever comes from now on."""
        with self._lock:
            self._is_closed = True
            ends, self._open = tuple(self._open), set()
        for end in ends:
            _hang_up(end)

    def _leave(self) -> None:
        with self._lock:
            self._joined -= 1

    def _serve(self, channel: Channel) -> None:
        with ExitStack() as stack:
            stack.callback(self._leave)
            stack.callback(_hang_up, channel)  # what has broken is no news to anybody here
            try:
                end = self._target()
            except OSError:  # nobody listens: the guest sees its connection closed, as it would without us
                return
            with closing(end), self._held(channel, end):
                to_guest = (end.recv, partial(send_all, channel), partial(send_end, channel))
                back = threading.Thread(target=_pump, args=to_guest, name="forwarded back", daemon=True)
                try:
                    back.start()
                except RuntimeError:  # as above
                    return
                _pump(channel.recv, end.sendall, partial(end.shutdown, socket.SHUT_WR))
                back.join()

    @contextmanager
    def _held(self, *ends: socket.socket | Channel) -> Iterator[None]:
        with self._lock:
            self._open.update(ends)
            was_closed = self._is_closed
        if was_closed:
            for end in ends:
                _hang_up(end)
        try:
            yield
        finally:
            with self._lock:
                self._open.difference_update(ends)


def _pump(receive: Callable[[int], bytes], send: Callable[[bytes], None], end: Callable[[], None]) -> None:
    """Send on what comes until its end, and then that."""
    with suppress(OSError, EOFError):  # one side has hung up, which both hear
        while data := receive(_CHUNK_BYTES):
            send(data)
    with suppress(OSError, EOFError):
        end()


def _hang_up(end: socket.socket | Channel) -> None:
    """Wake the threads that wait for an end's data, or for room for some."""
    if not isinstance(end, socket.socket):
        hang_up(end)
        return
    with suppress(OSError):  # it has been closed
        end.shutdown(socket.SHUT_RDWR)
