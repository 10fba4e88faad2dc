"""The start of a group: all images and templates, then all slots, then all machines, at once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vmtasks import events
from vmtasks.config.paths import socket_dir
from vmtasks.errors import CommandFailed, HostError, UsageError
from vmtasks.group.channel import MemberChannel
from vmtasks.group.group import Group
from vmtasks.group.network import switched
from vmtasks.group.roles import GroupMember, Role, as_roles, expand, members_of
from vmtasks.host import capacity
from vmtasks.host.availability import rules_of
from vmtasks.host.slots import Claim, ClaimTooLargeError, Limits, SlotsUnavailableError, Ticket, waiting_for
from vmtasks.process.cleanup import remove_at_exit
from vmtasks.process.threads import parallel
from vmtasks.providers.base import BootOptions, MachineRequest
from vmtasks.providers.boot import provider_of, where
from vmtasks.providers.preparation import prepare
from vmtasks.providers.qemu.provider import Qemu, started
from vmtasks.spec import LOCAL, GroupCard
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
    :param timeout_s: after how many seconds the whole group ends; 0: never.
    :param purpose: what it is for, for those who wait for a slot.
    :param log_dir: the directory for consoles and for the output of each command.
    :raise UsageError: the group cannot be as it is asked for.
    :raise HostError: this host cannot run it.
    :raise BootError: a machine did not come up.
    """

    def request_of(member: GroupMember, role: Role) -> MachineRequest:
        options = BootOptions(
            name=member.name,
            on=on,
            kernel=(kernel or role.kernel) if isinstance(role.image, str) else "",  # a checkpoint's has been chosen
            memory_mib=role.memory_mib,
            cpus=role.cpus,
            network=role.network or network,
            accel=accel,
            attempts=attempts,
            cold=cold,
            forkable=role.forkable,
        )
        return MachineRequest(
            image=role.image,
            options=options,
            preparation=role.prepare,
            purpose=f"{purpose or 'a group'}: {member.name}",
            log_dir=log_dir,
        )

    full = as_roles(roles)
    requests = {member: request_of(member, full[member.role]) for member in members_of(full)}
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
    members = tuple(requests)
    group = Group(members, wait_timeout_s=wait_timeout_s)
    try:
        with ExitStack() as stack:
            machines = stack.enter_context(_machines(group, requests, log_dir))
            stack.enter_context(group.messages.keeping_time())
            stack.enter_context(_all_at_once(group, machines, requests, on_guest))
            group.limit(timeout_s)
            yield group
            group.check()
    except BaseException as problem:
        if (end := group.ended(problem)) is not problem:
            raise end from problem
        raise


AnyMachine = AbstractContextManager["Guest"]
Machines = Mapping[GroupMember, AnyMachine]


@contextmanager
def _machines(group: Group, requests: Mapping[GroupMember, MachineRequest], log_dir: Path | None) -> Iterator[Machines]:
    """Yield the blocks of all machines, none of which is entered yet, but for all of which there is room."""
    places = {where(request) for request in requests.values()}
    if len(places) > 1:
        raise UsageError(f"cannot have a group in several places: {', '.join(sorted(places))}")
    provider = provider_of(*places)
    from vmtasks.providers.static_host.provider import StaticHost  # whose ssh few groups need

    if isinstance(provider, StaticHost) and len(requests) > 1:
        raise UsageError(
            f"cannot have a group of {len(requests)} machines at {provider.host}: it is one machine",
            hint="without --on",
        )
    if not isinstance(provider, Qemu):
        yield {member: provider.machine(request) for member, request in requests.items()}
        return
    if provider.on != LOCAL:
        raise UsageError(
            f"cannot have a group on '{provider.on}': the machines of a group run on this host",
            hint="without --on, or run it there",
        )
    ready = {member: provider.ready(request, GroupCard()) for member, request in requests.items()}
    names = [member.name for member in requests]
    with (
        switched(names, partial(expand, tuple(requests)), log_dir) as network,
        _slots(ready) as queue,
    ):
        group.plug(network)

        def block(member: GroupMember, machine: Machine, launch: LaunchConfig, source: BootSource) -> AnyMachine:
            card = member.card(network.socket(member.name))
            settings = replace(launch.settings, machines=queue.machines, memory_mib=queue.memory_mib)
            launch = replace(launch, settings=settings, queue=queue.directory, check=group.check)
            return started(requests[member], replace(machine, group_card=card), launch, source)

        yield {member: block(member, *parts) for member, parts in ready.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Queue:
    """The queue in which the members take their slots: the group has one for each."""

    directory: Path
    machines: int
    memory_mib: int


@contextmanager
def _slots(ready: Mapping[GroupMember, tuple[Machine, LaunchConfig, BootSource]]) -> Iterator[_Queue]:
    """Have slots for all machines, which we got together, for as long as the block lasts.

    :raise HostError: they will never be had.
    """
    asked = [(launch.purpose, machine.memory_mib) for machine, launch, _ in ready.values()]
    (_, launch, _), *_ = ready.values()
    usual = capacity.default_limits(emulated=launch.choice.accelerator == "tcg")
    settings = launch.settings
    limits = Limits(machines=settings.machines or usual.machines, memory_mib=settings.memory_mib or usual.memory_mib)
    try:
        with (
            Claim(*asked[0], limits, beside=asked[1:], rules=rules_of(settings)) as claim,
            tempfile.TemporaryDirectory(prefix="vmtasks-", dir=socket_dir()) as directory,
        ):
            remove_at_exit(Path(directory))
            with events.phase("slot", detail=f"{len(asked)} machines"):
                claim.wait(_tell_who_is_ahead)
            yield _Queue(directory=Path(directory), machines=len(asked), memory_mib=claim.memory_mib)
    except (ClaimTooLargeError, SlotsUnavailableError) as problem:
        raise HostError(str(problem)) from problem


def _tell_who_is_ahead(ahead: Sequence[Ticket]) -> None:
    events.emit(events.Note(text=f"the group is waiting{waiting_for(ahead)}"))


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
            on_guest(guest)
            if (preparation := requests[member].preparation) is not None:
                prepare(guest, preparation)
            lost = partial(group.lost, member)
            channel = MemberChannel(member, group.members, guest, group.messages, lost, has_network=group.has_network)
            group.add(member, guest)
            guest.wait_only_while(group.check)
            try:
                channel.join()
            except CommandFailed as problem:
                if group.has_network:
                    raise
                text = f"{guest.name} can neither send nor wait: {problem}"
                events.emit(events.Note(machine=guest.name, text=text, level="warning"))
                return
            channel.start()
            stacks[member].callback(channel.stop)
        except BaseException as problem:
            group.fail(problem)
            raise

    try:
        parallel(*(partial(start, member) for member in machines))
        yield
    finally:
        parallel(*(stack.close for stack in stacks.values()))
