"""Machines that QEMU runs, from images that are baked here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vmtasks.cache.snapshot import Snapshot
from vmtasks.config.settings import HostSettings
from vmtasks.errors import BootError, HostError, UsageError
from vmtasks.guest import Guest
from vmtasks.host import capacity
from vmtasks.host.accelerator import Choice, choose
from vmtasks.host.local import LOCAL_HOST, Host
from vmtasks.image.bake import ensure
from vmtasks.image.baked import BakedImage, images_dir
from vmtasks.image.damage import read_whole
from vmtasks.image.definition import Definition, find
from vmtasks.image.kernel_options import KERNEL_OPTIONS, accelerator_options
from vmtasks.kernel.header import release_of
from vmtasks.kernel.layer import baking, with_kernel
from vmtasks.machine.alarm_watch import expect_none
from vmtasks.machine.checkpoint import fingerprint, key_of, machine_from
from vmtasks.machine.launch import BootSource, LaunchConfig
from vmtasks.machine.lifecycle import running
from vmtasks.providers.base import BootOptions, MachineRequest
from vmtasks.providers.preparation import prepared_source
from vmtasks.providers.qemu.bake import guest_steps_runner
from vmtasks.providers.qemu.template import source_of
from vmtasks.qemu.argv import BY_HAND, qemu_argv
from vmtasks.spec import LOCAL, DirectKernel, GroupCard, Machine

DEFAULT_OPTIONS = BootOptions()
_CPUS_ANYWHERE = 8
"""So many processors a machine may have on the smallest host, if slowly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Qemu:
    """Machines that QEMU runs, on this host or on one that ssh reaches."""

    on: str = LOCAL

    @contextmanager
    def machine(self, request: MachineRequest) -> Iterator[Guest]:
        """Yield the guest of a clean machine; see :class:`vmtasks.providers.base.Provider`."""
        with started(request, *self.ready(request)) as guest:
            yield guest

    def ready(
        self, request: MachineRequest, group_card: GroupCard | None = None
    ) -> tuple[Machine, LaunchConfig, BootSource]:
        """Return what :func:`started` takes; image and template are made if need be.

        :param group_card: a second network card, which the template has as well.
        """
        image, options = request.image, request.options
        if isinstance(image, str):
            machine, launch = launch_of(image, options, place_of(self.on))
            machine = replace(machine, group_card=group_card)
            source = source_of(machine, launch, cold=options.cold, forkable=options.forkable)
            if request.preparation is not None:
                source = prepared_source(request.preparation, machine, launch, source)
        elif isinstance(image, Snapshot):
            machine, launch, source = fork_of(image, options)
            if group_card and not machine.group_card:
                raise UsageError(f"cannot start a member of a group from {image.name}: it was no member of one")
        else:
            raise UsageError(f"cannot start from {image.name}: it is no checkpoint of a QEMU machine")
        own = replace(launch, purpose=request.purpose, lifetime_s=request.lifetime_s, log_dir=request.log_dir)
        return machine, own, source

    def command_line(self, request: MachineRequest) -> tuple[str, ...]:
        """Return QEMU's command line: its control line is on standard input there, its console goes to ``console.log``.

        ``-snapshot`` stands for the overlay. The image is baked if it is not there: a command line that names no file
        is of no use.

        :raise UsageError: there is no such image, or it is for another host.
        """
        if self.on != LOCAL:
            raise UsageError("cannot print QEMU's command line for a machine elsewhere: --dry-run is for this host")
        if not isinstance(request.image, str):
            raise UsageError(f"cannot print the command line of a machine from the checkpoint {request.image.name}")
        machine, _ = launch_of(request.image, request.options)
        return (*qemu_argv(machine, disk=machine.disk, wires=BY_HAND), "-snapshot")


@contextmanager
def started(request: MachineRequest, machine: Machine, launch: LaunchConfig, source: BootSource) -> Iterator[Guest]:
    """Yield the guest of a machine that :meth:`Qemu.ready` has made ready, with the kernel that was asked for.

    :raise BootError: it did not come up, or with another one.
    :raise TestFailed: its kernel has reported an error, and that was to fail.
    """
    alarms = request.options.alarms
    with running(machine, replace(launch, hears_alarms=alarms != "off"), source) as guest:
        if request.options.kernel and launch.baked:
            expect_running(guest, launch.baked)
        yield guest
    if alarms == "fail":
        expect_none(guest.name, guest.alarms)


def expect_running(guest: Guest, baked: BakedImage) -> None:
    """See that a guest runs the kernel of its image.

    :raise BootError: it runs another one.
    """
    kernel = replace(baked, directory=images_dir() / baked.serial).kernel  # here, wherever the guest is
    wanted = release_of(kernel) if kernel else ""
    release = guest.query(["uname", "--kernel-release"]).strip()
    if wanted and release != wanted:
        raise BootError(f"{guest.name} runs the kernel {release}, and not the {wanted} that was asked for")


def fork_of(checkpoint: Snapshot, options: BootOptions) -> tuple[Machine, LaunchConfig, BootSource]:
    """Return what a machine from *checkpoint* is made of: all but its name was settled when that was saved.

    :raise UsageError: something else is asked for.
    :raise HostError: the image that it stands on is gone, or a failure's host is not what it was.
    """
    saved = machine_from(checkpoint.metadata["machine"])
    machine = replace(saved, name=options.name or saved.name)
    for setting in ("kernel", "memory_mib", "cpus", "network", "extra_args"):
        value = getattr(options, setting)
        if value and value != getattr(machine, setting, ""):
            raise UsageError(
                f"cannot give {checkpoint.name} another {setting}: a machine from a checkpoint is as it was"
            )
    place = checkpoint.place
    baked = place.call(read_whole, Path(checkpoint.metadata["baked"]))
    if checkpoint.kind == "failure" and checkpoint.metadata.get("basis") != key_of(
        place.call(fingerprint, machine, baked)
    ):
        raise HostError(
            f"cannot start {checkpoint.name} as it failed: its host has another QEMU, processor or kernel since",
            hint="run the test once more",
        )
    settings = settings_of(place, options)
    choice = Choice(accelerator=machine.accelerator, reason="the checkpoint's")
    image = checkpoint.metadata["image"]
    access = baked.access if place.is_local else replace(baked, directory=images_dir() / baked.serial).access
    launch = LaunchConfig(image=image, baked=baked, access=access, choice=choice, settings=settings, place=place)
    checkpoint.touch()
    return machine, launch, BootSource(snapshot=checkpoint, reason=f"of {checkpoint.name}", forkable=options.forkable)


def place_of(on: str) -> Host:
    """Return the host of that name.

    :raise UsageError: it cannot be a host's name.
    :raise HostError: it cannot be reached.
    """
    if on == LOCAL:
        return LOCAL_HOST
    from vmtasks.remote.host import remote_host

    return remote_host(on)


def settings_of(place: Host, options: BootOptions) -> HostSettings:
    """Return the settings that hold for a machine there: how much of a host may be had, its own settings decide.

    :raise UsageError: a settings file or variable is not right, here or there.
    """
    ours = host_settings(accel=options.accel, attempts=options.attempts)
    if place.is_local:
        return ours
    theirs = place.call(HostSettings.load)
    return replace(theirs, accel=options.accel or theirs.accel, attempts=ours.attempts, heartbeat_s=ours.heartbeat_s)


def launch_of(image: str, options: BootOptions, place: Host = LOCAL_HOST) -> tuple[Machine, LaunchConfig]:
    """Return the machine that *options* make of an image, which is baked if need be, and what is around it.

    :raise UsageError: there is no such image.
    :raise HostError: this host cannot bake it.
    """
    found = find(image)
    definition = with_kernel(found, options.kernel) if options.kernel else found
    _expect_room(place, options)
    settings = settings_of(place, options)
    choice = place.call(choose, settings.accel, definition.architecture)
    with baking(found, options.kernel) if options.kernel else nullcontext():
        own = ensure_baked(definition, settings=settings if place.is_local else None)  # baked here: by this host's
    baked = own
    if not place.is_local:
        from vmtasks.remote.host import RemoteHost
        from vmtasks.remote.upload import sent

        if not isinstance(place, RemoteHost):
            raise AssertionError("there are no other places")
        baked = sent(place, own)
    machine = machine_of(definition, baked, choice, options)
    launch = LaunchConfig(
        image=definition.name, baked=baked, access=own.access, choice=choice, settings=settings, place=place
    )
    return machine, launch


def _expect_room(place: Host, options: BootOptions) -> None:
    """See that a machine is not to be larger than its host.

    :raise UsageError: it is.
    """
    if options.memory_mib and options.memory_mib > (total_mib := place.call(capacity.memory_mib)):
        raise UsageError(
            f"cannot give a machine {options.memory_mib} MiB of memory: the host has {total_mib} MiB",
            hint="--memory-mib, or memory_mib in vmtasks.toml, says how much it is to have",
        )
    if options.cpus and options.cpus > (most := max(place.call(capacity.cores), _CPUS_ANYWHERE)):
        raise UsageError(
            f"cannot give a machine {options.cpus} processors: on this host, {most} are the most",
            hint="--cpus, or cpus in vmtasks.toml, says how many it is to have",
        )


def host_settings(*, accel: Literal["auto", "kvm", "tcg"] | None = None, attempts: int | None = None) -> HostSettings:
    """Return the host's settings with the caller's options over them.

    :raise UsageError: a settings file or variable is not right.
    """
    settings = HostSettings.load()
    return replace(settings, accel=accel or settings.accel, attempts=attempts or settings.attempts)


def ensure_baked(definition: Definition, *, settings: HostSettings | None = None, refresh: bool = False) -> BakedImage:
    """Return the baked image of a definition, after baking it if need be.

    :param refresh: bake it anew, with today's packages.
    :raise HostError: this host cannot bake it.
    """
    settings = settings or HostSettings.load()
    run_guest_steps = guest_steps_runner(settings, choose(settings.accel, definition.architecture), machine_of)
    baked = ensure(definition, run_guest_steps, settings, refresh=refresh)
    baked.touch()
    return baked


def machine_of(
    definition: Definition,
    baked: BakedImage,
    choice: Choice,
    options: BootOptions = DEFAULT_OPTIONS,
    *,
    seed: Path | None = None,
    ephemeral: bool = True,
) -> Machine:
    """Return the machine that a baked image makes: a pure function."""
    kernel = baked.kernel
    accelerated = accelerator_options(choice.accelerator, choice.tsc_khz)
    root = f"root={definition.root_device} rw"
    arguments = (root, KERNEL_OPTIONS[definition.architecture], accelerated, definition.kernel_options)
    command_line = " ".join(filter(None, arguments))
    return Machine(
        name=options.name or definition.listed_name,
        disk=baked.disk,
        architecture=definition.architecture,
        memory_mib=options.memory_mib or definition.memory_mib,
        cpus=options.cpus or definition.cpus,
        accelerator=choice.accelerator,
        boot=DirectKernel(kernel=kernel, initrd=baked.initrd, command_line=command_line) if kernel else None,
        network=options.network or definition.network,
        seed=seed,
        ephemeral=ephemeral,
        extra_args=options.extra_args,
    )
