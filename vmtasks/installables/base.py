"""The one protocol of all that is fetched once and installed in many guests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vmtasks.providers.preparation import Preparation

if TYPE_CHECKING:
    from vmtasks.guest import Guest


class Installable(Protocol):
    """Something that this host fetches once, and that is then installed in any number of guests.

    Guests need no network for it: what they get comes from this host. One that has a ``target``, the guest's directory
    that it goes into, is another one with another target.
    """

    @property
    def name(self) -> str:
        """What messages call it."""

    def fetch(self) -> str:
        """Have it on this host, unless it is there, and return what tells its content from any other.

        :raise UsageError: there is no such thing.
        :raise HostError: the network or the disk failed, or what came is not what was meant.
        """

    def install(self, guest: Guest) -> str:
        """Install it in a guest, and return by what it is found there: a directory, or a kernel's release.

        It is fetched before that, if nobody has done so.

        :raise TestFailed: it cannot be installed.
        """


def preparation_of(*parts: Installable) -> Preparation | None:
    """Fetch installables, and return that a machine has them: installed once, and then kept; None for none."""
    return Preparation.joined(*map(_prepared, parts))


def _prepared(part: Installable) -> Preparation:
    def run(guest: Guest) -> bool:
        part.install(guest)
        return True

    target = getattr(part, "target", "")  # packages have none: they say themselves where their files go
    key = f"installable: {part.name}: {part.fetch()}" + (f" in {target}" if target else "")
    return Preparation(name=part.name, key=key, run=run)
