"""The start of a group: all images and templates, then all slots, then all machines, at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vmtasks import events
from vmtasks.errors import BootError, CommandFailed, ConnectionLost, GuestLost, HostError, UsageError
from vmtasks.group.channel import MemberChannel
from vmtasks.group.group import Group
from vmtasks.group.network import switched
from vmtasks.group.roles import GroupMember, Role, as_roles, expand_with_cards, members_of, options_of
from vmtasks.group.together import all_needed
from vmtasks.process.threads import parallel
from vmtasks.providers.base import BootOptions, MachineRequest, Provider
from vmtasks.providers.boot import provider_of, settled_group, where
from vmtasks.providers.choice import Choices
from vmtasks.providers.preparation import prepare
from vmtasks.providers.qemu.provider import Qemu, started
from vmtasks.spec import GroupCard
from vmtasks.spec import Network as Reach

if TYPE_CHECKING:
    from vmtasks.guest import Guest
    from vmtasks.machine.launch import BootSource, LaunchConfig
    from vmtasks.spec import Machine

WAIT_TIMEOUT_S = 900.0
"""How long a message may be waited for, unless the group says otherwise."""


@contextmanager
def boot_group(
    roles: Mapping[str, Role | str],
    *,
    on: str = "",
    kernel: str = "",
    network: Reach | None = None,
    accel: Literal["auto", "kvm", "tcg"] | None = None,
    attempts: int | None = None,
    cold: bool = False,
    wait_timeout_s: float = WAIT_TIMEOUT_S,
    timeout_s: float = 0.0,
    purpose: str = "",
    log_dir: Path | None = None,
) -> Iterator[Group]:
    """Start a group of machines, all at once, and be rid of all of them at the end of the block.

    :param roles: what each role is; the name of an image is one machine of it.
    :param on: where they are to run.
    :param kernel: another kernel than the images', as for :func:`vmtasks.boot`.
    :param network: what each machine reaches beside the others, where its role does not say.
    :param cold: boot from the disks, whatever templates there are.
    :param wait_timeout_s: how long a message may be waited for, in seconds.
    :param timeout_s: after how many seconds the whole group ends, its wait for slots and its start included, but not
        the making of images and templates; 0: never.
    :param purpose: what it is for, for those who wait for a slot.
    :param log_dir: the directory for consoles and for the output of each command.
    :raise UsageError: the group cannot be as it is asked for.
    :raise HostError: this host cannot run it.
    :raise BootError: a machine did not come up that is essential, or none did.
    :raise TimedOut: the whole group has taken too long.
    """
    first = BootOptions(kernel=kernel)

    def request_of(member: GroupMember, role: Role) -> MachineRequest:
        asked = BootOptions(name=member.name, on=on, network=network, accel=accel, attempts=attempts, cold=cold)
        return MachineRequest(
            image=role.image,
            options=options_of(role, asked, first=first),
            preparation=role.prepare,
            purpose=f"{purpose or 'a group'}: {member.name}",
            log_dir=log_dir,
        )

    full = as_roles(roles)
    requests = settled_group({one: request_of(one, full[one.role]) for one in members_of(full)}, Choices())
    with group_of(requests, wait_timeout_s=wait_timeout_s, timeout_s=timeout_s, log_dir=log_dir) as group:
        yield group


@contextmanager
def group_of(
    requests: Mapping[GroupMember, MachineRequest],
    *,
    wait_timeout_s: float = WAIT_TIMEOUT_S,
    timeout_s: float = 0.0,
    log_dir: Path | None = None,
    on_guest: Callable[[Guest], None] = lambda _: None,
) -> Iterator[Group]:
    """Yield the group of the machines that are asked for.

    :param on_guest: called with each guest before anything is done in it.
    """
    requests = {_placed(member, request): request for member, request in requests.items()}
    members = tuple(requests)
    group = Group(members, wait_timeout_s=wait_timeout_s)
    try:
        with ExitStack() as stack:
            machines = stack.enter_context(_machines(group, requests, log_dir, timeout_s))
            stack.enter_context(group.messages.keeping_time())
            stack.enter_context(_all_at_once(group, machines, requests, on_guest))
            yield group
            group.check()
    except BaseException as problem:
        if (end := group.ended(problem)) is not problem:
            raise end from problem
        raise


AnyMachine = AbstractContextManager["Guest"]
Machines = Mapping[GroupMember, AnyMachine]


def _placed(member: GroupMember, request: MachineRequest) -> GroupMember:
    """Return a member that knows whether it is an existing host, by whichever way it has become one."""
    from vmtasks.providers.static_host.provider import StaticHost  # whose ssh few groups need

    provider = provider_of(where(request))
    return replace(member, on=provider.on if isinstance(provider, StaticHost) else "")


@contextmanager
def _machines(
    group: Group, requests: Mapping[GroupMember, MachineRequest], log_dir: Path | None, timeout_s: float
) -> Iterator[Machines]:
    """Yield the blocks of all machines, none of which is entered yet, but for all of which there is room.

    The time of the group begins once all images and templates are made: they are kept, and no part of it.
    """
    from vmtasks.providers.static_host.provider import StaticHost  # whose ssh few groups need

    provider = _provider_of_the_others(requests)
    if provider is not None and not isinstance(provider, Qemu):
        group.limit(timeout_s)
        yield {member: provider.machine(request) for member, request in requests.items()}
        return
    ready = (
        {member: provider.ready(request, GroupCard()) for member, request in requests.items() if not member.on}
        if provider
        else {}
    )
    group.limit(timeout_s)
    with ExitStack() as stack:
        # Behind the bakes: no connection has to last for so long.
        visits = {
            member: stack.enter_context(StaticHost.at(member.on).reached(request))
            for member, request in requests.items()
            if member.on
        }
        for visit in visits.values():
            visit.session.check = group.check
        if ready:
            names = [member.name for member in ready]
            place = next(launch.place for _, launch, _ in ready.values())
            expand = partial(expand_with_cards, tuple(requests))
            network = stack.enter_context(switched(names, expand, log_dir, place))
            group.plug(network)
        claim = stack.enter_context(all_needed(ready, visits.values(), group.check))

        def block(member: GroupMember, machine: Machine, launch: LaunchConfig, source: BootSource) -> AnyMachine:
            if claim is None:
                raise AssertionError("there are slots for machines")
            card = member.card(network.socket(member.name))
            settings = replace(launch.settings, machines=claim.machines, memory_mib=claim.memory_mib)
            launch = replace(launch, settings=settings, queue=claim.queue, check=group.check)
            return started(requests[member], replace(machine, group_card=card), launch, source)

        yield {member: visits[member].lent() if member.on else block(member, *ready[member]) for member in requests}


def _provider_of_the_others(requests: Mapping[GroupMember, MachineRequest]) -> Provider | None:
    """Return the provider of the members that are no existing hosts; None if there are no others.

    :raise UsageError: they are no group where they are to run.
    """
    hosts = [member.on for member in requests if member.on]
    if twice := next((one for one in hosts if hosts.count(one) > 1), ""):
        raise UsageError(
            f"cannot have {hosts.count(twice)} members of a group at {twice}: it is one machine",
            hint="without --on, members run on this host; with --pairs, where a recipe has it, they are two hosts",
        )
    others = {where(request) for member, request in requests.items() if not member.on}
    if not others:
        return None
    # A fake plays existing hosts as well, however many they are.
    places = {place for place in others if not place.startswith("ssh://")} or {min(others)}
    provider = provider_of(*places) if len(places) == 1 else None
    if provider is None or (hosts and not isinstance(provider, Qemu)):
        raise UsageError(f"cannot have a group in several places: {', '.join(sorted({*others, *hosts}))}")
    return provider


@contextmanager
def _all_at_once(
    group: Group,
    machines: Machines,
    requests: Mapping[GroupMember, MachineRequest],
    on_guest: Callable[[Guest], None],
) -> Iterator[None]:
    """Enter all blocks at the same time, and leave them at the same time."""
    stacks = {member: ExitStack() for member in machines}

    def start(member: GroupMember) -> None:
        try:
            guest = stacks[member].enter_context(machines[member])
            group.check()
            on_guest(guest)
            if (preparation := requests[member].preparation) is not None:
                prepare(guest, preparation)
            if member.on and group.has_network:
                text = f"{guest.name} has no card on the group's network: it is an existing host, {member.on}"
                events.emit(events.Note(machine=guest.name, text=text))
            group.add(member, guest)
            guest.wait_only_while(group.check)
            if (channel := _joined(group, member, guest)) is not None:
                channel.start()
                stacks[member].callback(channel.stop)
        except (BootError, ConnectionLost, GuestLost) as problem:
            if member.is_essential:
                group.fail(problem)
                raise
            group.lost(member, problem)
            text = f"{member.name} did not come up, and the group goes on without it: {problem}"
            events.emit(events.Note(machine=member.name, text=text, level="warning"))
        except BaseException as problem:
            group.fail(problem)
            raise

    try:
        parallel(*(partial(start, member) for member in machines))
        group.expect_anybody()
        yield
    finally:
        parallel(*(stack.close for stack in stacks.values()))


def _joined(group: Group, member: GroupMember, guest: Guest) -> MemberChannel | None:
    """Return the channel by which a guest takes part; None if it can neither send nor wait, and need not."""
    lost = partial(group.lost, member)
    channel = MemberChannel(member, group.members, guest, group.messages, lost, has_network=group.has_network)
    try:
        channel.join()
    except CommandFailed as problem:
        if member.on:
            raise HostError(f"{guest.name} cannot be a member of the group: {problem}") from problem
        if group.has_network:
            raise
        text = f"{guest.name} can neither send nor wait: {problem}"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        return None
    return channel
