"""The life of one machine: a slot, a start, an answer, an end. Every way out of the block ends it."""

from __future__ import annotations

import os
import secrets
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError
from vmtasks.guest.announce import announce
from vmtasks.guest.transfer_disk import TransferDisk
from vmtasks.image.damage import condemn
from vmtasks.machine.alarm_watch import ConsoleAlarms, following
from vmtasks.machine.checkpoint import Checkpointer, fingerprint, machine_as_data
from vmtasks.machine.controls import guest_console, moved_bytes, power_of, runs
from vmtasks.machine.direct_boots import DirectBoots
from vmtasks.machine.identity import CloneIdentity
from vmtasks.machine.instance import QemuGuest
from vmtasks.machine.kernel_rooms import KernelRooms
from vmtasks.machine.launch import BootSource, LaunchConfig, launch_form, lock_files_of
from vmtasks.machine.logs import log_files, one_log
from vmtasks.machine.offline import refuse_at_once
from vmtasks.machine.plan import plan_of
from vmtasks.machine.shutdown import end_machine
from vmtasks.qemu.argv import SSH_PORT
from vmtasks.spec import Machine
from vmtasks.ssh.connect import Address, connect, pin_host_key, ssh_line
from vmtasks.ssh.session import Session
from vmtasks.supervisor.client import SupervisorClient, supervised
from vmtasks.supervisor.watch import TURN_S, MachineWatch

if TYPE_CHECKING:
    from vmtasks.ssh.connect import Connection

START_LIMIT_S = 60.0
FROM_DISK = BootSource()
IDENTITY_LIMIT_S = 60.0
IDENTITY_STAGGER_S = 5.0
"""A copied machine listens already: a second attempt beside the first would only slow that down."""


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """One attempt to start a machine."""

    number: int
    was_admitted: bool = False
    """Whether it had its slot: before that, nothing has been tried of what it starts from."""


@contextmanager
def running(machine: Machine, launch: LaunchConfig, source: BootSource = FROM_DISK) -> Iterator[QemuGuest]:
    """Yield the guest of a running machine.

    Boot failures, and only they, are tried again; every attempt keeps its own console log. A snapshot that
    does not serve is no attempt where there is something else to start from; if that serves, it is dropped.

    :raise HostError: this host cannot run it.
    :raise BootError: it did not come up, in as many attempts as the settings allow.
    """
    with ExitStack() as stack:
        attempts, suspect = launch.settings.attempts, None
        for number in count(1):
            attempt = _Attempt(number=number)
            try:
                guest = stack.enter_context(_boot_once(machine, launch, source, attempt))
                break
            except (BootError, HostError) as problem:
                if source.snapshot and source.fallback and attempt.was_admitted:
                    suspect = source.snapshot
                    reason = f"the {suspect.kind} did not serve: {problem!s}"
                    source = replace(source.fallback, reason=reason)
                    attempts += 1
                elif number == attempts or isinstance(problem, HostError):
                    _expect_whole(launch, problem)
                    raise
                text = f"{problem!s}; trying again ({number + 1} of {attempts})"
                events.emit(events.Note(machine=machine.name, text=text, level="warning"))
        if suspect:
            with suppress(HostError, OSError):  # it will be met again
                suspect.drop()
        yield guest


def _expect_whole(launch: LaunchConfig, problem: BootError | HostError) -> None:
    """See that the image of a machine that did not start is what was baked; only now is there time to read all of it.

    :raise HostError: it is not, and goes.
    """
    try:
        reason = launch.place.call(condemn, launch.baked) if launch.baked else ""
    except HostError:  # that host is lost, which is the problem
        return
    if reason:
        raise HostError(
            f"the image {launch.image} was damaged, and has been removed: {reason}",
            details=problem.details,
            hint="run it again: the image is baked anew",
        ) from problem


@contextmanager
def _boot_once(machine: Machine, launch: LaunchConfig, source: BootSource, attempt: _Attempt) -> Iterator[QemuGuest]:
    directory = launch.place.cache() / "machines" / f"{machine.name}-{os.getpid()}-{secrets.token_hex(4)}"
    console, qemu_log = log_files(machine, launch, directory, attempt.number)
    form = launch_form(machine, source, directory, has_transfer_disk=launch.has_transfer_disk)
    identity = CloneIdentity(name=machine.name) if source.snapshot else None
    plan = plan_of(machine, form, launch, source, identity, directory=directory, console=console, qemu_log=qemu_log)
    supervisor_log = launch.log_dir / f"{machine.name}-supervisor.log" if launch.log_dir else Path(os.devnull)
    with (
        following(machine.name, console, listens=launch.hears_alarms) as alarms,
        supervised(plan, log=supervisor_log, place=launch.place) as client,
        one_log(launch.console, client, attempt.number, shlex.join(plan.argv)),
    ):
        watch = MachineWatch(client, machine.name, console, partial(_look_around, alarms, launch))
        address, port_there = _wait_until_started(watch, machine, launch, source, attempt)
        connection = _first_connection(address, machine, launch, identity, watch)
        if launch.access.known_hosts is None:
            address = replace(address, access=pin_host_key(launch.access, connection, directory / "known_hosts"))
        session = _session(machine, launch, client, watch, address=address, connection=connection)
        alarms.secrets = session.secrets
        checkpointer = _checkpointer(machine, form, client, launch, source)
        guest = QemuGuest(
            session,
            client=client,
            source=source,
            directory=directory,
            console=guest_console(machine.name, console, client, watch, alarms),
            console_alarms=alarms,
            checkpointer=checkpointer,
            ssh_command=ssh_line(address),
            address=address,
            console_log=console,
            transfer_disk=_transfer_disk(form, client, launch, is_clone=identity is not None),
            log_dir=launch.log_dir,
            heartbeat_s=launch.settings.heartbeat_s,
            is_local=launch.place.is_local,
            power=power_of(watch, _direct_boots(checkpointer, client, launch, port_there, directory)),
        )
        if machine.network != "user" and launch.baked:
            refuse_at_once(guest)
        watch.booted = True
        _announce(guest, launch, source, plan.argv, attempt.number)
        went_well = False
        try:
            yield guest
            went_well = True
        finally:
            with events.phase("stop", machine=machine.name):
                # What ends badly, or because it is interrupted, does not wait for a guest to power off.
                power_off = went_well and not machine.ephemeral
                end_machine(guest, client, launch.persistent_disk if power_off else None, listens=watch.listens)


def _session(
    machine: Machine,
    launch: LaunchConfig,
    client: SupervisorClient,
    watch: MachineWatch,
    *,
    address: Address,
    connection: Connection,
) -> Session:
    return Session(
        machine.name,
        connection,
        lambda deadline: connect(address, deadline, watch.watch),
        watch.watch,
        host_is_well=lambda: launch.place.is_local and runs(client),  # elsewhere, it may be the way there
    )


def _announce(guest: QemuGuest, launch: LaunchConfig, source: BootSource, argv: Sequence[str], attempt: int) -> None:
    announce(
        guest,
        image=launch.image,
        image_key=launch.baked.key if launch.baked else "",
        manifest=launch.baked.manifest if launch.baked else {},
        argv=argv,
        accelerator=launch.choice.accelerator,
        accelerator_reason=launch.choice.reason,
        start=source.kind,
        start_reason=source.reason,
        host=launch.place.name,
        attempt=attempt,
    )


def _look_around(alarms: ConsoleAlarms, launch: LaunchConfig) -> None:
    alarms.look()
    launch.check()


def _wait_until_started(
    watch: MachineWatch, machine: Machine, launch: LaunchConfig, source: BootSource, attempt: _Attempt
) -> tuple[Address, int]:
    """Wait through the phases until the guest runs; return where its sshd is, and its port on the machine's host."""
    with events.phase("slot", machine=machine.name):
        watch.wait_for("admitted", Deadline.after(None))
    attempt.was_admitted = True
    with events.phase("overlay", machine=machine.name, detail="disk"):
        watch.wait_for("prepared", Deadline.after(START_LIMIT_S))
    with events.phase("start", machine=machine.name, detail=f"{source.kind}, {launch.choice.accelerator}"):
        watch.wait_for("greeted", Deadline.after(START_LIMIT_S))
        watch.greeted = True
    with events.phase("restore", machine=machine.name, detail="state") if source.snapshot else nullcontext():
        started = watch.wait_for("started", Deadline.after(START_LIMIT_S))
    ports = started["ports"]
    address = Address(port=int(ports[str(SSH_PORT)]), access=launch.access)
    return address, int(started.get("ports_there", ports)[str(SSH_PORT)])


def _transfer_disk(
    form: Machine, client: SupervisorClient, launch: LaunchConfig, *, is_clone: bool
) -> TransferDisk | None:
    """Return the disk through which files travel; None where its file is out of reach, on another host."""
    if not (form.transfer_disk and launch.place.is_local):
        return None
    disk = TransferDisk(form.transfer_disk, partial(moved_bytes, client))
    if is_clone:
        disk.empty()  # what random numbers began with must not be read again
    return disk


def _checkpointer(
    machine: Machine, form: Machine, client: SupervisorClient, launch: LaunchConfig, source: BootSource
) -> Checkpointer | None:
    if launch.baked is None:
        return None
    about = {"image": launch.image, "baked": str(launch.baked.directory), "machine": machine_as_data(machine)}
    basis = partial(launch.place.call, fingerprint, machine, launch.baked)
    return Checkpointer(
        form, client, basis=basis, lock_files=lock_files_of(launch, source), about=about, place=launch.place
    )


def _direct_boots(
    checkpointer: Checkpointer | None, client: SupervisorClient, launch: LaunchConfig, port: int, directory: Path
) -> DirectBoots | None:
    """Return what a machine boots with; None where a boot loader decides that."""
    if checkpointer is None or (boot := checkpointer.machine.boot) is None:
        return None
    form = checkpointer.machine
    rooms = KernelRooms(directory, machine=form.name, place=launch.place)
    return DirectBoots(form, boot, client, port=port, rooms=rooms, pin=checkpointer.pin)


def _first_connection(
    address: Address, machine: Machine, launch: LaunchConfig, identity: CloneIdentity | None, watch: MachineWatch
) -> Connection:
    """Return the connection that makes a machine ready: a copied one gets its identity over it."""
    with watch.shown(), ExitStack() as phases:
        phase = ""

        def enter(next_phase: str, detail: str) -> None:
            nonlocal phase
            if next_phase != phase:  # a guest may greet many a time before it lets us in
                phase = next_phase
                phases.close()
                phases.enter_context(events.phase(phase, machine=machine.name, detail=detail))

        if identity is not None:
            enter("ssh", "and the machine's own clock, random numbers and name")
            return connect(
                address, Deadline.after(IDENTITY_LIMIT_S), watch.watch, identity, stagger_s=IDENTITY_STAGGER_S
            )
        enter("boot", "kernel and userland")
        limit = Deadline.after(launch.settings.boot_timeout_s)
        first_look_s = time.monotonic() + launch.first_look_s
        while (wait_s := first_look_s - time.monotonic()) > 0 and not limit.passed:
            watch.watch(limit.within(min(wait_s, TURN_S)))
        return connect(address, limit, watch.watch, on_greeting=lambda: enter("ssh", "the first command"))
