"""The image that runvm is given: what it is, what it stands on, and the machine that it makes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vmtasks.config.paths import cache_dir
from vmtasks.errors import HostError, UsageError
from vmtasks.host.accelerator import Choice, choose
from vmtasks.host.confined import qemu_img
from vmtasks.host.flock import try_lock
from vmtasks.image.baked import BakedImage, images_dir
from vmtasks.image.damage import read_whole
from vmtasks.image.definition import find
from vmtasks.image.info import chain_of
from vmtasks.integrations.runvm.disks import lean_disks
from vmtasks.integrations.runvm.options import Call
from vmtasks.machine.launch import LaunchConfig, PersistentDisk
from vmtasks.process.landlock import Reach
from vmtasks.process.user import user_name
from vmtasks.providers.qemu.provider import host_settings, machine_of
from vmtasks.qemu.argv import EMULATED_CPUS, overlay_argv
from vmtasks.spec import Access, Machine

_BOOT_ARGUMENTS = ("kernel", "cdrom", "boot", "bios", "pflash", "drive", "fda")
"""Arguments of QEMU's with which it may boot from something else than the first disk."""
_USUAL_CPU = "qemu32,-nx"


def machine_for(call: Call) -> tuple[Machine, LaunchConfig]:
    """Return the machine that a call of runvm asks for, and what is around it.

    :raise UsageError: there is no such image, or the call contradicts itself.
    :raise HostError: this host cannot run it, or cannot read the image.
    """
    options, image = call.options, call.image.absolute()
    base = Path(options.base_image).absolute() if options.base_image else None
    settings = replace(host_settings(attempts=max(1, options.kvm_retries)), boot_timeout_s=options.startup_timeout)
    chain = _chain(base, f"there is no base image {base}") if base else _chain(image, f"there is no image {image}")
    baked = _baked_of(chain)
    choice = choose(settings.accel, find(str(baked.manifest["name"])).architecture if baked else "amd64")
    if not (baked or _boots_otherwise(options.kvm)):
        _check_boots(base or image, chain)
    machine, access = _ours(baked, choice, options.user) if baked else _foreign(image, choice, options.user)
    disk, persistent_disk = _persistent_disk(call, image, base, chain, access)
    cpu = options.cpu or machine.cpu
    if choice.accelerator == "tcg" and cpu.partition(",")[0] == "host":
        cpu = cpu.replace("host", EMULATED_CPUS[machine.architecture], 1)
    machine = replace(
        machine,
        name=call.image.stem,
        disk=disk,
        disk_format="qcow2" if base else str(chain[0]["format"]),
        memory_mib=options.memory,
        cpus=options.smp,
        cpu=cpu,
        card=machine.card if options.netdev == "virtio" else options.netdev,
        ssh_port=options.port,
        extra_args=lean_disks(options.kvm) if baked else options.kvm,
    )
    return machine, LaunchConfig(
        image=str(base or image),
        baked=baked,
        access=access,
        choice=choice,
        settings=settings,
        persistent_disk=persistent_disk,
        purpose=f"runvm {call.image.name}",
        console=Path(options.logfile) if options.logfile else None,
        has_transfer_disk=False,
        first_look_s=options.initial_sleep,
    )


@contextmanager
def reserved(machine: Machine, launch: LaunchConfig) -> Iterator[None]:
    """Be the only runvm that writes to the machine's image, wherever that is meanwhile.

    :raise HostError: another one does.
    """
    locks = cache_dir() / "runvm"
    written = {machine.disk, *(place for _, place in launch.persistent_disk.move)}
    with ExitStack() as stack:
        locks.mkdir(parents=True, exist_ok=True)
        for path in written:
            name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
            if not stack.enter_context(try_lock(locks / f"{name}.lock")):
                raise HostError(f"cannot write to {path}: another runvm does", hint="each needs an image of its own")
        yield


def _ours(baked: BakedImage, choice: Choice, user: str) -> tuple[Machine, Access]:
    machine = machine_of(find(str(baked.manifest["name"])), baked, choice, ephemeral=False)
    if user in ("", baked.access.user):
        return machine, baked.access
    return machine, replace(baked.access, user=user, identity=None)


def _foreign(disk: Path, choice: Choice, user: str) -> tuple[Machine, Access]:
    machine = Machine(
        name="", disk=disk, accelerator=choice.accelerator, hardware="pc", cpu=_USUAL_CPU, card="virtio",
        ephemeral=False,
    )  # fmt: skip
    return machine, Access(user=user or user_name())


def _persistent_disk(
    call: Call, image: Path, base: Path | None, chain: list[dict[str, Any]], access: Access
) -> tuple[Path, PersistentDisk]:
    """Return where the disk is while the machine runs, and how it gets there and back.

    :param chain: the disk that there is, and what it stands on.
    """
    options = call.options
    work = Path(options.work_image).absolute() if options.work_image and base else image
    beneath = {Path(one["filename"]).resolve() for one in (chain if base else chain[1:])}
    for path in {image, work}:
        if path.resolve() in beneath:
            raise UsageError(f"cannot make {path.name} anew: what takes its place would stand on it")
        if path.resolve().is_relative_to(images_dir().resolve()):
            raise UsageError(
                f"cannot write to {path}: it is an image of vmtasks, which others stand on",
                hint=f"runvm --base-image={path} {call.image.name} lays one of your own over it",
            )
        if not path.parent.is_dir():
            raise UsageError(f"there is no directory {path.parent} for an image")
    moved = work.resolve() != image.resolve()
    return work, PersistentDisk(
        prepare=(overlay_argv(base, str(chain[0]["format"]), work),) if base else (),
        beneath=tuple(sorted(beneath)),
        move=((work, image.resolve()),) if moved else (),
        power_off=_power_off(call, access.user),
        power_off_limit_s=options.shutdown_timeout,
    )


def _power_off(call: Call, user: str) -> tuple[str, ...] | None:
    """Return the command that shuts the guest down; Windows is left to its power button."""
    if call.options.windows:
        return None
    # FreeBSD halts and stays on where it is not told to power off.
    is_freebsd = "freebsd" in f"{call.options.base_image} {call.image}".lower()
    shutdown = ("/sbin/shutdown", "-p" if is_freebsd else "-h", "now")
    return shutdown if user == "root" else ("sudo", "-n", *shutdown)


def _chain(image: Path, absent: str) -> list[dict[str, Any]]:
    """Return what qemu-img knows of an image and of all that it stands on, the nearest first."""
    if not image.exists():
        raise UsageError(absent)
    return chain_of(image)


def _boots_otherwise(arguments: tuple[str, ...]) -> bool:
    return any(word.lstrip("-").partition("=")[0] in _BOOT_ARGUMENTS for word in arguments)


def _check_boots(disk: Path, chain: list[dict[str, Any]]) -> None:
    """See that a BIOS would find something to start in the first sector.

    :raise UsageError: it would not, and QEMU would sit there until the limit.
    """
    with TemporaryDirectory() as room:
        sector = Path(room, "sector")
        words = ["bs=512", "count=1", f"if={disk}", f"of={sector}"]
        reach = Reach(tuple(str(one["filename"]) for one in chain), (room,))
        qemu_img("dd", "-U", "-f", str(chain[0]["format"]), "-O", "raw", *words, reach=reach)
        if sector.exists() and sector.read_bytes()[510:512] == b"\x55\xaa":
            return
    raise UsageError(
        f"cannot boot {disk}: it has no boot loader in its first sector",
        hint="a disk that stands on an image of vmtasks boots where that image is in the cache (VMTASKS_CACHE)",
    )


def _baked_of(chain: list[dict[str, Any]]) -> BakedImage | None:
    """Return our own image that a disk is, or stands on; None if it has nothing to do with us."""
    lowest = Path(chain[-1]["filename"]).resolve()
    return read_whole(lowest.parent) if lowest.parent.parent == images_dir().resolve() else None
