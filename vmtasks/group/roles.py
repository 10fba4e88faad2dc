"""Who is in a group: roles as they are asked for, and the members that they make."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vmtasks.errors import UsageError, did_you_mean
from vmtasks.providers.base import BootOptions
from vmtasks.spec import Checkpoint, GroupCard, Network

if TYPE_CHECKING:
    from pathlib import Path

    from vmtasks.providers.preparation import Preparation

HOST = "host"
"""What the host's side is called as a sender of messages, and in files of ours; in jobs of LAVA a role is often so."""
OTHER_HOST = "_host"
"""What the host's side is called where a role or a member is :data:`HOST`; none can be called so."""
PREFIX = 16
"""Of the group's network 198.18.0.0/16: it is for tests of networks (RFC 2544), and so is nobody's."""
MOST_MEMBERS = 250
_RESERVED = frozenset({"localhost", "all"})
_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,29}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What a member of a group is, and how many there are of it; None leaves it to the image, or to the run's flags."""

    image: str | Checkpoint = ""
    """Empty: an existing host as it is."""
    on: str = ""
    """The existing host that it is, as ``--on`` has it: ``ssh://[root@]HOST[:PORT]``; empty: a machine of its own."""
    count: int = 1
    memory_mib: int | None = None
    cpus: int | None = None
    kernel: str = ""
    """Another kernel than the image's, as ``--kernel`` names it."""
    network: Network | None = None
    """What each member reaches beside the others."""
    essential: bool = True
    """Whether the group ends when one of them dies."""
    prepare: Preparation | None = None
    """Work that each member is to have behind it."""
    forkable: bool = False
    """Whether ``guest.checkpoint`` is to serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMember:
    """One machine of a group."""

    name: str
    role: str
    number: int
    """Its place in the group, from 1."""
    is_essential: bool = True
    on: str = ""
    """The existing host that it is, as ``--on`` has it; such a member has no card on the group's network."""

    @property
    def address(self) -> str:
        """Its IPv4 address on the group's network; empty if it has no card there."""
        return "" if self.on else f"198.18.0.{self.number}"

    @property
    def mac(self) -> str:
        """Its card's address there."""
        return f"{GroupCard().mac[:-2]}{self.number:02x}"

    def card(self, socket: Path) -> GroupCard:
        """Return its card, plugged into a port of the switch."""
        return GroupCard(mac=self.mac, socket=socket)


def as_roles(roles: Mapping[str, Role | str]) -> dict[str, Role]:
    """Return the roles of a group, where the name of an image stands for one machine of it.

    :raise UsageError: a role cannot be.
    """
    full = {name: role if isinstance(role, Role) else Role(image=role) for name, role in roles.items()}
    for name, role in full.items():
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise UsageError(
                f"cannot have a role '{name}': its machines' names come from it",
                hint="a role has small letters, figures, - and _, at most 31, and is not localhost or all",
            )
        if not role.image and not role.on:
            raise UsageError(f"role '{name}' has no image")
        if role.count < 1:
            raise UsageError(f"role '{name}' cannot have {role.count} machines: count is 1 or more")
        if role.on:
            _expect_host(name, role)
    return full


def _expect_host(name: str, role: Role) -> None:
    """See that a role is an existing host, and asks for nothing that such a one cannot be.

    :raise UsageError: it is none, or it does.
    """
    if not role.on.startswith("ssh://"):
        raise UsageError(
            f"role '{name}' cannot be on '{role.on}': a role is an existing host, ssh://HOST, or machines of this host",
            hint="without `on`, its machines run here",
        )
    from vmtasks.providers.static_host.provider import StaticHost  # whose ssh few groups need

    host = StaticHost.at(role.on).host
    if role.count > 1:
        raise UsageError(f"role '{name}' cannot have {role.count} machines at {host}: it is one machine")
    if not isinstance(role.image, str):
        raise UsageError(f"role '{name}' cannot start from {role.image.name}: {host} runs already")
    network = role.network if role.network != "user" else None
    wanted = {"memory_mib": role.memory_mib, "cpus": role.cpus, "kernel": role.kernel, "network": network}
    if given := [key for key, value in wanted.items() if value]:
        raise UsageError(f"role '{name}' cannot have {given[0]}: {host} is an existing host, and is what it is")


def _expect_each_host_once(places: Iterable[str]) -> None:
    from vmtasks.providers.static_host.provider import StaticHost  # whose ssh few groups need

    hosts = [StaticHost.at(place) for place in places]
    if twice := next((host for host in hosts if hosts.count(host) > 1), None):
        raise UsageError(f"{hosts.count(twice)} roles of the group are {twice.host}: it is one machine")


def options_of(role: Role, asked: BootOptions, *, first: BootOptions) -> BootOptions:
    """Return what is asked of a machine of a role: a pure function.

    :param asked: of any machine, where its role does not say.
    :param first: of any machine, whatever its role says; of this, memory, processors, kernel and network count.
    """
    if role.on:  # what is asked of QEMU's machines is nothing for a host that is there
        return BootOptions(name=asked.name, on=role.on, alarms=asked.alarms)
    can_choose = isinstance(role.image, str)  # a checkpoint's kernel has been chosen
    return replace(
        asked,
        memory_mib=first.memory_mib or role.memory_mib or asked.memory_mib,
        cpus=first.cpus or role.cpus or asked.cpus,
        kernel=(first.kernel or role.kernel or asked.kernel) if can_choose else "",
        network=first.network or role.network or asked.network,
        forkable=role.forkable or asked.forkable,
    )


def members_of(roles: Mapping[str, Role]) -> tuple[GroupMember, ...]:
    """Return the members that *roles* make: named like the role, with a number behind it where there are several.

    :raise UsageError: there are none, too many, or two of one name.
    """
    if (total := sum(role.count for role in roles.values())) > MOST_MEMBERS:  # first: no list may be so long
        raise UsageError(f"a group has at most {MOST_MEMBERS} machines, and not {total}")
    named = [
        (f"{name}{number}" if role.count > 1 else name, name, role)
        for name, role in roles.items()
        for number in range(1, role.count + 1)
    ]
    if not named:
        raise UsageError("a group has at least one role")
    _expect_each_host_once(role.on for _, _, role in named if role.on)
    seen: set[str] = set()
    for name, of, _ in named:
        if name in seen or (name in roles and name != of):
            raise UsageError(f"two machines of the group would be called '{name}': give one of the roles another name")
        seen.add(name)
    return tuple(
        GroupMember(name=name, role=of, number=number, is_essential=role.essential, on=role.on)
        for number, (name, of, role) in enumerate(named, 1)
    )


def expand(members: Sequence[GroupMember], name: str) -> list[str]:
    """Return the names of the members that *name*, a member's or a role's, stands for.

    :raise UsageError: it is neither.
    """
    found = [member.name for member in members if name in (member.name, member.role)]
    if not found:
        known = list(dict.fromkeys(one for member in members for one in (member.role, member.name)))
        more = did_you_mean(name, known, otherwise="there are " + ", ".join(f"'{one}'" for one in known))
        raise UsageError(f"there is no member and no role '{name}' in the group; {more}")
    return found


def expand_with_cards(members: Sequence[GroupMember], name: str) -> list[str]:
    """Return the names of the members that *name* stands for, all of which have a card on the group's network.

    :raise UsageError: one has none, or there is no such name.
    """
    found = expand(members, name)
    for one in members:
        if one.name in found and one.on:
            raise UsageError(f"{one.name} has no link in the group's network: it is an existing host, {one.on}")
    return found
