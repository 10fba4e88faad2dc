"""What a guest's network cards have received and sent, as its own kernel counts: QEMU's user network counts nothing.

Source: proc_net(5), and /proc/sys/kernel/random/boot_id of random(4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND = "cat /proc/sys/kernel/random/boot_id /proc/net/dev"
"""What is run in the guest."""
REBOOTED = "the guest has booted meanwhile, and counts from then on"
_RECEIVED, _SENT = 0, 8
_MOST_CARDS = 64
_NAME_LETTERS = 15
"""The longest name that the kernel gives a card: ``IFNAMSIZ`` of if.h, without the end."""
_COUNTERS = range(1 << 64)
"""What a counter of the kernel's can be."""


@dataclass(frozen=True, slots=True)
class NetworkTraffic:
    """All traffic since the guest's boot, by card."""

    boot_id: str
    cards: Mapping[str, tuple[int, int]]
    """Bytes that were received, and sent."""


def parse_traffic(text: str) -> NetworkTraffic:
    """Return what the guest answered; the loopback is no card.

    :raise ValueError: that is no such answer: a guest may say what it likes.
    """
    boot_id, _, _, *lines = text.splitlines()  # two lines of headings
    cards = {}
    for line in lines[:_MOST_CARDS]:
        name, colon, numbers = line.strip().rpartition(":")
        fields = numbers.split()
        if not colon or len(fields) <= _SENT:
            raise ValueError(f"no line of /proc/net/dev: {line[:60]!r}")
        if name != "lo":
            if len(name) > _NAME_LETTERS:
                raise ValueError(f"no name of a card: {name[:60]!r}")
            shown = "".join(letter if letter.isprintable() else "?" for letter in name)
            cards[shown] = (_counter(fields[_RECEIVED]), _counter(fields[_SENT]))
    return NetworkTraffic(boot_id=boot_id, cards=cards)


def _counter(text: str) -> int:
    """Return what a counter of the kernel's says.

    :raise ValueError: it is none.
    """
    if (value := int(text)) not in _COUNTERS:
        raise ValueError(f"no counter of the kernel's: {text[:60]!r}")
    return value


def between(before: NetworkTraffic, after: NetworkTraffic) -> dict[str, dict[str, int]] | None:
    """Return what each card received and sent from one moment to another; None: the guest booted in between."""
    if before.boot_id != after.boot_id:
        return None
    found = {}
    for name, after_bytes in after.cards.items():
        first = before.cards.get(name, (0, 0))
        if any(late < early for early, late in zip(first, after_bytes, strict=True)):  # its driver was loaded anew
            first = (0, 0)
        received, sent = (late - early for early, late in zip(first, after_bytes, strict=True))
        found[name] = {"received_bytes": received, "sent_bytes": sent}
    return found
