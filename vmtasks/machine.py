"""``boot()``: the one way to a machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from vmtasks.config import HostSettings
from vmtasks.errors import UsageError
from vmtasks.finish import finisher
from vmtasks.guest import Guest
from vmtasks.image.bake import ensure
from vmtasks.image.cache import BakedImage
from vmtasks.image.definition import Definition, find
from vmtasks.life import Berth, living
from vmtasks.qemu.accel import Choice, choose
from vmtasks.qemu.argv import BY_HAND, qemu_argv
from vmtasks.spec import DirectKernel, Machine, Network

KERNEL_OPTIONS = "root=/dev/vda rw console=ttyS0 quiet nokaslr net.ifnames=0 tsc=reliable no_timer_check"
"""No probing of a clock that QEMU guarantees, no waiting for disks by name: what a machine needs and no more."""


@contextmanager
def boot(
    image: str,
    *,
    name: str = "",
    memory_mib: int | None = None,
    cpus: int | None = None,
    network: Network | None = None,
    accel: Literal["auto", "kvm", "tcg"] | None = None,
    attempts: int | None = None,
    what: str = "",
    logs: Path | None = None,
    extra: tuple[str, ...] = (),
) -> Iterator[Guest]:
    """Boot a clean machine from an image, and be rid of it at the end of the block.

    The image is baked first if it is not there. Whatever is not given comes from the image's definition and
    from the host's settings.

    :param name: what to call the machine; the image's name by default.
    :param what: what it is for, for those who wait for a slot.
    :param logs: the directory for the console and for the output of each command.
    :param extra: more arguments for QEMU.
    :raise UsageError: there is no such image.
    :raise HostError: this host cannot bake or run it.
    :raise BootError: it did not come up, in as many attempts as allowed.
    """
    settings = host_settings(accel=accel, attempts=attempts)
    definition = find(image)
    choice = choose(settings.accel)
    baked = ensure_baked(definition, settings=settings)
    machine = machine_of(definition, baked, choice, name=name, memory_mib=memory_mib, cpus=cpus, network=network)
    if machine.network == "none":
        raise UsageError(
            f'cannot boot {image} without a network: ssh could not reach it; "restricted" reaches nothing else'
        )
    berth = Berth(
        image=image, baked=baked, choice=choice, settings=settings, what=what or f"a machine from {image}", logs=logs
    )
    with living(replace(machine, extra=extra), berth) as guest:
        yield guest


def argv_by_hand(
    image: str,
    *,
    name: str = "",
    memory_mib: int | None = None,
    cpus: int | None = None,
    network: Network | None = None,
    accel: Literal["auto", "kvm", "tcg"] | None = None,
    attempts: int | None = None,
) -> tuple[str, ...]:
    """Return the command line of the machine that :func:`boot` would start, to be pasted into a terminal.

    QEMU's control line is on its standard input there, its console goes to ``console.log``, and ``-snapshot``
    stands for the overlay. The image is baked if it is not there: a command line that names no file helps nobody.

    :raise UsageError: there is no such image.
    """
    settings = host_settings(accel=accel, attempts=attempts)
    definition = find(image)
    choice = choose(settings.accel)
    baked = ensure_baked(definition, settings=settings)
    machine = machine_of(definition, baked, choice, name=name, memory_mib=memory_mib, cpus=cpus, network=network)
    return (*qemu_argv(machine, disk=baked.disk, wires=BY_HAND), "-snapshot")


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
    *,
    name: str = "",
    memory_mib: int | None = None,
    cpus: int | None = None,
    network: Network | None = None,
    seed: Path | None = None,
    throw_away: bool = True,
) -> Machine:
    """Return the machine that a baked image makes: a pure function."""
    kernel = baked.kernel
    options = f"{KERNEL_OPTIONS} {definition.kernel_options}".strip()
    return Machine(
        name=name or definition.name,
        disk=baked.disk,
        architecture=definition.architecture,
        memory_mib=memory_mib or definition.memory_mib,
        cpus=cpus or definition.cpus,
        accelerator=choice.accelerator,
        boot=DirectKernel(kernel=kernel, initrd=baked.initrd, command_line=options) if kernel else None,
        network=network or definition.network,
        seed=seed,
        throw_away=throw_away,
    )
