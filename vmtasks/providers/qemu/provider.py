"""Machines that QEMU runs, from images that are baked here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vmtasks.cache.snapshots import Frozen
from vmtasks.config.settings import HostSettings
from vmtasks.errors import UsageError
from vmtasks.guest import Guest
from vmtasks.host.accelerator import Choice, choose
from vmtasks.host.local import THIS_HOST, Place
from vmtasks.image.bake import ensure
from vmtasks.image.baked import BakedImage, images_dir, read_baked
from vmtasks.image.definition import Definition, find
from vmtasks.machine.checkpoint import machine_from
from vmtasks.machine.launch import Berth, Origin
from vmtasks.machine.lifecycle import living
from vmtasks.providers.base import Wishes
from vmtasks.providers.preparation import Provisioning, provisioned
from vmtasks.providers.qemu.bake import finisher
from vmtasks.providers.qemu.template import origin_of
from vmtasks.qemu.argv import BY_HAND, qemu_argv
from vmtasks.spec import HERE, Checkpoint, DirectKernel, Machine

KERNEL_OPTIONS = "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 tsc=reliable no_timer_check"
"""No probing of a clock that QEMU guarantees, no waiting for disks by name: what a machine needs and no more."""


NO_WISHES = Wishes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Qemu:
    """Machines that QEMU runs, on this host or on one that ssh reaches."""

    on: str = HERE

    @contextmanager
    def machine(
        self,
        image: str | Checkpoint,
        wishes: Wishes,
        *,
        provisioning: Provisioning | None = None,
        what: str = "",
        logs: Path | None = None,
    ) -> Iterator[Guest]:
        """Yield the guest of a clean machine; see :class:`vmtasks.providers.base.Provider`."""
        if isinstance(image, str):
            machine, berth = berth_of(image, wishes, place_of(self.on))
            origin = origin_of(machine, berth, cold=wishes.cold, forkable=wishes.forkable)
            if provisioning is not None:
                origin = provisioned(provisioning, machine, berth, origin)
        elif isinstance(image, Frozen):
            machine, berth, origin = fork_of(image, wishes)
        else:
            raise UsageError(f"cannot start from {image.name}: it is no machine that QEMU has frozen")
        with living(machine, replace(berth, what=what, logs=logs), origin) as guest:
            yield guest


def fork_of(checkpoint: Frozen, wishes: Wishes) -> tuple[Machine, Berth, Origin]:
    """Return what a machine from *checkpoint* is made of: all but its name was settled when that was frozen.

    :raise UsageError: something else is wished for.
    :raise HostError: the image that it stands on is gone.
    """
    frozen_machine = machine_from(checkpoint.said["machine"])
    machine = replace(frozen_machine, name=wishes.name or frozen_machine.name)
    for setting in ("memory_mib", "cpus", "network", "extra"):
        wish = getattr(wishes, setting)
        if wish and wish != getattr(machine, setting):
            raise UsageError(f"cannot give {checkpoint.name} another {setting}: a frozen machine is as it was")
    place = checkpoint.place
    baked = place.call(read_baked, Path(checkpoint.said["baked"]))
    settings = settings_of(place, wishes)
    choice = Choice(accelerator=machine.accelerator, why="the frozen machine's")
    image = checkpoint.said["image"]
    access = baked.access if place.is_here else replace(baked, directory=images_dir() / baked.serial).access
    berth = Berth(image=image, baked=baked, access=access, choice=choice, settings=settings, place=place)
    checkpoint.touch()
    return machine, berth, Origin(frozen=checkpoint, why=f"from {checkpoint.name}", forkable=wishes.forkable)


def argv_by_hand(image: str, wishes: Wishes) -> tuple[str, ...]:
    """Return the command line of the machine that :func:`vmtasks.boot` would start, to be pasted into a terminal.

    QEMU's control line is on its standard input there, its console goes to ``console.log``, and ``-snapshot``
    stands for the overlay. The image is baked if it is not there: a command line that names no file helps nobody.

    :raise UsageError: there is no such image.
    """
    machine, _ = berth_of(image, wishes)
    return (*qemu_argv(machine, disk=machine.disk, wires=BY_HAND), "-snapshot")


def place_of(on: str) -> Place:
    """Return the host of that name.

    :raise UsageError: it cannot be a host's name.
    :raise HostError: it cannot be reached.
    """
    if on == HERE:
        return THIS_HOST
    from vmtasks.remote.host import far_host

    return far_host(on)


def settings_of(place: Place, wishes: Wishes) -> HostSettings:
    """Return the settings that hold for a machine there: how much of a host may be had, its own say.

    :raise UsageError: a settings file or variable is not right, here or there.
    """
    ours = host_settings(accel=wishes.accel, attempts=wishes.attempts)
    if place.is_here:
        return ours
    theirs = place.call(HostSettings.load)
    return replace(theirs, accel=wishes.accel or theirs.accel, attempts=ours.attempts, heartbeat_s=ours.heartbeat_s)


def berth_of(image: str, wishes: Wishes, place: Place = THIS_HOST) -> tuple[Machine, Berth]:
    """Return the machine that *wishes* make of an image, which is baked if need be, and what is around it.

    :raise UsageError: there is no such image.
    :raise HostError: this host cannot bake it.
    """
    definition = find(image)
    settings = settings_of(place, wishes)
    choice = place.call(choose, settings.accel)
    own = ensure_baked(definition, settings=settings if place.is_here else None)  # baked here: as this host's say
    machine = machine_of(definition, own, choice, wishes)
    baked = own
    if not place.is_here:
        from vmtasks.remote.host import FarHost
        from vmtasks.remote.upload import sent

        if not isinstance(place, FarHost):
            raise AssertionError("there are no other places")
        baked = sent(place, own)
        machine = moved(machine, baked.directory)
    berth = Berth(image=image, baked=baked, access=own.access, choice=choice, settings=settings, place=place)
    return machine, berth


def moved(machine: Machine, directory: Path) -> Machine:
    """Return *machine* as it is made of an image in another directory."""
    kernel = machine.boot
    return replace(
        machine,
        disk=directory / machine.disk.name,
        boot=kernel and replace(kernel, kernel=directory / kernel.kernel.name, initrd=directory / kernel.initrd.name),
    )


def host_settings(*, accel: Literal["auto", "kvm", "tcg"] | None = None, attempts: int | None = None) -> HostSettings:
    """Return the host's settings with the caller's wishes over them.

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
    finish = finisher(settings, choose(settings.accel), machine_of)
    return ensure(definition, finish, settings, refresh=refresh)


def machine_of(
    definition: Definition,
    baked: BakedImage,
    choice: Choice,
    wishes: Wishes = NO_WISHES,
    *,
    seed: Path | None = None,
    throw_away: bool = True,
) -> Machine:
    """Return the machine that a baked image makes: a pure function."""
    kernel = baked.kernel
    options = f"{KERNEL_OPTIONS} {definition.kernel_options}".strip()
    return Machine(
        name=wishes.name or definition.name,
        disk=baked.disk,
        architecture=definition.architecture,
        memory_mib=wishes.memory_mib or definition.memory_mib,
        cpus=wishes.cpus or definition.cpus,
        accelerator=choice.accelerator,
        boot=DirectKernel(kernel=kernel, initrd=baked.initrd, command_line=options) if kernel else None,
        network=wishes.network or definition.network,
        seed=seed,
        throw_away=throw_away,
        extra=wishes.extra,
    )
