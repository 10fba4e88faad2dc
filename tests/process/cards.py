"""What plays machines at the switch of a group: cards with the addresses of three members."""

from __future__ import annotations

import fcntl
import socket
import termios
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

from tests.waiting import until
from vmtasks.errors import UsageError
from vmtasks.group.network import Network

NAMES = ("server", "client1", "client2")
ALL = b"\xff" * 6
LIMIT_S = 20.0


def mac(name: str) -> bytes:
    return bytes((0x56, 0, 0, 0, 0, NAMES.index(name) + 1))


def members(name: str) -> list[str]:
    found = [one for one in NAMES if one.rstrip("12") == name or one == name]
    if not found:
        raise UsageError(f"there is no member {name}")
    return found


class Card:
    """What QEMU is to the switch: one end of a stream of frames, each behind its length."""

    def __init__(self, network: Network, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT_S)
        self.socket.connect(str(network.socket(name)))

    def send(self, target: bytes, payload: bytes) -> None:
        frame = target + mac(self.name) + b"\x08\x00" + payload
        self.socket.sendall(len(frame).to_bytes(4, "big") + frame)

    def receive(self) -> bytes:
        """Return the payload of the next frame."""
        return self._exactly(int.from_bytes(self._exactly(4), "big"))[14:]

    def is_taken(self) -> None:
        """Return when the switch has read all that was sent."""
        until(
            "empty queue", lambda: fcntl.ioctl(self.socket, termios.TIOCOUTQ, b"\0" * 4) == b"\0" * 4, timeout_s=LIMIT_S
        )

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the switch has hung up"
            data += piece
        return data


@contextmanager
def plugged(network: Network, *names: str) -> Iterator[list[Card]]:
    """Yield cards that the switch knows."""
    with ExitStack() as stack:
        cards = [Card(network, name) for name in names]
        for card in cards:
            stack.enter_context(closing(card.socket))
        for card in cards:  # a frame to all comes back when all of them are there
            others = [other for other in cards if other is not card]
            for number in range(1000):
                card.send(ALL, b"hello %d" % number)
                if all(heard(other, b"hello %d" % number) for other in others):
                    break
        yield cards


def heard(card: Card, payload: bytes) -> bool:
    card.socket.settimeout(0.5)
    with suppress(TimeoutError):
        while card.receive() != payload:
            pass
        card.socket.settimeout(LIMIT_S)
        return True
    return False
