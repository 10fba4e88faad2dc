"""Who is in a group, and what names stand for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vmtasks.errors import HostError, UsageError
from vmtasks.group.guest_programs import USUAL, join_command, joined_with
from vmtasks.group.roles import Role, as_roles, expand, expand_with_cards, members_of, options_of
from vmtasks.machine.checkpoint import machine_as_data, machine_from
from vmtasks.providers.base import BootOptions
from vmtasks.qemu.argv import qemu_argv
from vmtasks.spec import GroupCard, Machine

ROLES = as_roles({"server": "bookworm", "client": Role(image="trixie", count=2, essential=False)})


def test_members_are_called_like_their_role_with_a_number_where_there_are_several() -> None:
    members = members_of(ROLES)
    assert [(one.name, one.role, one.address, one.mac, one.is_essential) for one in members] == [
        ("server", "server", "198.18.0.1", "56:6d:74:00:00:01", True),
        ("client1", "client", "198.18.0.2", "56:6d:74:00:00:02", False),
        ("client2", "client", "198.18.0.3", "56:6d:74:00:00:03", False),
    ]


def test_a_name_stands_for_a_member_or_for_all_of_a_role() -> None:
    members = members_of(ROLES)
    assert expand(members, "client") == ["client1", "client2"]
    assert expand(members, "client2") == ["client2"]
    with pytest.raises(UsageError, match="no role 'cleint' in the group; did you mean 'client'"):
        expand(members, "cleint")
    with pytest.raises(UsageError, match="there are 'server', 'client', 'client1', 'client2'"):
        expand(members, "xyz")


def test_who_has_no_card_is_told_from_those_who_have_one() -> None:
    members = members_of(as_roles({"board": Role(on="ssh://root@board"), "client": "bookworm"}))
    assert [(one.on, one.address) for one in members] == [("ssh://root@board", ""), ("", "198.18.0.2")]
    assert expand_with_cards(members, "client") == ["client"]
    with pytest.raises(UsageError, match="board has no link in the group's network: it is an existing host, ssh:"):
        expand_with_cards(members, "board")
    names, *_ = joined_with(USUAL, members).split(b"\0")
    assert names == b"198.18.0.2 client # vmtasks group\n"


def test_what_is_asked_first_goes_over_the_role_and_the_role_over_the_rest() -> None:
    role = Role(image="x", memory_mib=512, kernel="rt", forkable=True)
    asked = BootOptions(name="a", on="local", memory_mib=256, cpus=1, network="none", accel="tcg")
    found = options_of(role, asked, first=BootOptions(memory_mib=128))
    assert (found.name, found.on, found.memory_mib, found.cpus, found.kernel) == ("a", "local", 128, 1, "rt")
    assert (found.network, found.accel, found.forkable) == ("none", "tcg", True)
    found = options_of(Role(image="x", kernel="rt", network="user"), asked, first=BootOptions(kernel="other"))
    assert (found.kernel, found.memory_mib, found.network) == ("other", 256, "user")
    assert not found.forkable
    assert options_of(Role(image="x"), replace(asked, forkable=True), first=BootOptions()).forkable, "a run may freeze"
    host = options_of(Role(on="ssh://board"), asked, first=BootOptions(kernel="other", network="none"))
    assert host == BootOptions(name="a", on="ssh://board")


@pytest.mark.parametrize(
    ("roles", "sentence"),
    [
        ({}, "at least one role"),
        ({"Server": "x"}, "cannot have a role 'Server'"),
        ({"a b": "x"}, "cannot have a role 'a b'"),
        ({"../x": "x"}, "cannot have a role"),
        ({"localhost": "x"}, "cannot have a role 'localhost'"),
        ({"server": ""}, "role 'server' has no image"),
        ({"server": Role(image="x", count=0)}, "role 'server' cannot have 0 machines"),
        ({"a": Role(image="x", count=2), "a2": "x"}, "two machines of the group would be called 'a2'"),
        ({"a": Role(image="x", count=251)}, "at most 250 machines"),
        ({"a": Role(image="x", count=10**15)}, "at most 250 machines"),
    ],
)
def test_a_group_that_cannot_be_is_refused(roles: dict[str, Role | str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        members_of(as_roles(roles))


def test_addresses_and_names_of_the_largest_group_are_all_different() -> None:
    members = members_of({"node": Role(image="x", count=250)})
    assert len({one.mac for one in members}) == len({one.address for one in members}) == 250
    assert GroupCard().mac not in {one.mac for one in members}


def test_who_joins_is_told_its_address_and_everybodys_name() -> None:
    members = members_of(ROLES)
    assert join_command(USUAL, members[1], has_network=True)[3:7] == [
        "/usr/local/bin", "/run/vmtasks-group/socket", "56:6d:74:00:00:02", "198.18.0.2/16"
    ]  # fmt: skip
    names, *programs = joined_with(USUAL, members).split(b"\0")
    assert names.splitlines()[0] == b"198.18.0.1 server # vmtasks group"
    assert programs[::2] == [b"lava-self", b"lava-network", b"lava-echo-ipv4"]


def test_what_is_saved_of_a_member_has_its_card_but_neither_its_address_nor_its_socket() -> None:
    card = GroupCard(mac="56:6d:74:00:00:07", socket=Path("/run/x/client1"))
    machine = Machine(name="client1", disk=Path("/d"), group_card=card)
    assert machine_from(machine_as_data(machine)).group_card == GroupCard()
    assert machine_from(machine_as_data(Machine(name="alone", disk=Path("/d")))).group_card is None
    older = machine_as_data(Machine(name="alone", disk=Path("/d")))
    del older["group_card"]
    assert machine_from(older).group_card is None
    with pytest.raises(HostError, match="is damaged"):
        machine_from({**older, "group_card": "yes"})


def test_a_card_is_plugged_into_its_port_and_one_that_is_not_hears_nothing() -> None:
    plugged = Machine(name="m", disk=Path("/d"), group_card=GroupCard(mac="56:6d:74:00:00:07", socket=Path("/r,x/c")))
    argv = qemu_argv(plugged, disk=Path("/d"))
    assert "stream,id=group,server=off,addr.type=unix,addr.path=/r,,x/c" in argv
    assert "virtio-net-pci,netdev=group,romfile=,mac=56:6d:74:00:00:07" in argv
    unplugged = qemu_argv(Machine(name="m", disk=Path("/d"), group_card=GroupCard()), disk=Path("/d"))
    assert "hubport,id=group,hubid=0" in unplugged
    assert not [word for word in qemu_argv(Machine(name="m", disk=Path("/d")), disk=Path("/d")) if "group" in word]
