"""A machine that reaches nothing outside: what is tried there fails at once.

QEMU drops what such a guest sends, without a word; so a name would be looked up for 20 s, and a connection tried for
two minutes. Routes that lead nowhere have the guest's kernel answer instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtasks.image.rootfs import GUEST_NAMESERVER

if TYPE_CHECKING:
    from vmtasks.guest import Guest

# The host stays reachable, for its answers: it is a neighbour. An image of somebody else's may have no ip(8), or routes
# of its own; there it stays as slow as it was.
_NOWHERE = "; ".join(
    f"ip {family} route replace unreachable {there} 2>/dev/null"
    for family, there in (("-4", "default"), ("-4", GUEST_NAMESERVER), ("-6", "default metric 1"))
)


def refuse_at_once(guest: Guest) -> None:
    """Have a guest whose network is cut off learn so at once, until it boots anew."""
    guest.query(f"{_NOWHERE}; :")
