"""What a switch does with a frame: which ports get it, and when. No sockets, no clock of its own.

It learns addresses as every switch does (IEEE 802.1D): a frame's sender is behind the port that it came in by; one that
goes to an address not seen yet, or to many, goes to all other ports.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

AT_ONCE = 0.0
"""The time at which a frame is due that is not to wait."""
_ADDRESSES = 4096
"""How many senders are remembered: a guest may invent as many as it likes."""
_BACKLOG_S = 0.5
"""What a slow link holds of frames that wait for it; more are dropped, as by every router with a queue."""


# No dataclass: the switch starts in the time that importing those would take.
class Link(namedtuple("Link", ("is_cut", "delay_s", "loss", "bytes_per_s"), defaults=(False, 0.0, 0.0, 0.0))):  # noqa: PYI024
    """How one direction between two ports is."""

    __slots__ = ()
    if TYPE_CHECKING:
        is_cut: bool
        delay_s: float
        loss: float
        """Which part of the frames is lost, from 0 to 1."""
        bytes_per_s: float
        """0: as fast as can be."""


class Forwarding:
    """A switch's mind: who is where, and how the links are.

    :param ports: their names.
    :param chance: returns a number from 0 up to 1, as :func:`random.random` does.
    """

    def __init__(self, ports: Iterable[str], chance: Callable[[], float]) -> None:
        self._others = {port: [other for other in ports if other != port] for port in ports}
        self._chance = chance
        self._behind: dict[bytes, str] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._free_s: dict[tuple[str, str], float] = {}
        """When a slow link is done with what it was given."""

    def change(self, pairs: Iterable[tuple[str, str]], link: Link) -> None:
        """Have the link of each pair, from its first to its second, be like *link*."""
        for pair in pairs:
            self._free_s.pop(pair, None)
            if link == Link():
                self._links.pop(pair, None)
            else:
                self._links[pair] = link

    def forward(self, source: str, frame: bytes, now_s: float) -> Iterator[tuple[str, float]]:
        """Yield the ports that a frame which came in at *source* goes to, each with the time when."""
        self._learn(frame[6:12], source)
        behind = None if frame[0] & 1 else self._behind.get(frame[:6])  # the lowest bit marks what is for many
        for target in self._others[source] if behind is None else (behind,):
            if target == source:  # both are behind one port
                continue
            link = self._links.get((source, target))
            if link is None:
                yield target, AT_ONCE
            elif (due_s := self._due_s((source, target), link, len(frame), now_s)) is not None:
                yield target, due_s

    def is_cut(self, source: str, target: str) -> bool:
        """Tell whether what was sent a moment ago must not arrive any more."""
        link = self._links.get((source, target))
        return link is not None and link.is_cut

    def _learn(self, address: bytes, port: str) -> None:
        if self._behind.get(address) != port and not address[0] & 1:
            if len(self._behind) >= _ADDRESSES:
                self._behind.clear()
            self._behind[address] = port

    def _due_s(self, pair: tuple[str, str], link: Link, size_bytes: int, now_s: float) -> float | None:
        """Return when a frame arrives; None: never."""
        if link.is_cut or (link.loss and self._chance() < link.loss):
            return None
        due_s = now_s
        if link.bytes_per_s:
            free_s = max(now_s, self._free_s.get(pair, now_s))
            if free_s - now_s > _BACKLOG_S:
                return None
            due_s = self._free_s[pair] = free_s + size_bytes / link.bytes_per_s
        return due_s + link.delay_s
