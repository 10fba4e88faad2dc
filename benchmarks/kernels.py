"""Reboots, and another kernel than the image's: unpacked, baked into a layer of the image, and booted."""

from __future__ import annotations

import os
import subprocess
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.crowd import environment
from benchmarks.measurement import Rows, at_most, bake, in_turn, slower, timed
from benchmarks.starts import IMAGE, cold_command_s
from vmtasks import events
from vmtasks.image.baked import find_baked
from vmtasks.image.definition import find
from vmtasks.kernel.debian_package import KernelPackage
from vmtasks.kernel.kept import Kernel
from vmtasks.kernel.layer import with_kernel
from vmtasks.providers.qemu.provider import ensure_baked

REBOOT_AT_MOST_TIMES = 1.5
_KERNEL = "linux-image-rt-amd64"
_UNPACKINGS = 3


def reboots(runs: int) -> Rows:
    """Measure the reboot of a copy against a boot from the disk, both until a command has ended."""
    from vmtasks import boot

    bake(IMAGE)
    with boot(IMAGE, purpose="a measurement of reboots") as guest:

        def reboot() -> None:
            guest.reboot()
            guest.succeed(["true"])

        ours, against = in_turn(runs, lambda: timed(reboot), lambda: cold_command_s(IMAGE))
    yield slower("a reboot of a copy; against a cold boot", REBOOT_AT_MOST_TIMES, ours, against)


def kernels(runs: int) -> Rows:
    """Measure what a kernel takes that an image has not: its package unpacked, the image's layer, and its boots."""
    bake(IMAGE)
    with TemporaryDirectory(prefix="vmtasks-bench-") as directory, events.phase("kernel", detail=_KERNEL):
        room = Path(directory)
        package = KernelPackage.find(_KERNEL).fetch(room)
        places = (str(room / f"{number}") for number in count())
        ours, against = in_turn(
            _UNPACKINGS, lambda: _unpacked_s(package, next(places)), lambda: _by_hand_s(package, next(places))
        )
        yield slower("unpacking a kernel's package, all of it checked; against dpkg-deb", None, ours, against)
        definition = with_kernel(find(IMAGE), str(package))
        if old := find_baked(definition):
            old.drop()
        layer_s = timed(lambda: ensure_baked(definition))
        yield at_most(
            "an image with another kernel, its modules and its initrd, where the rest is baked", None, (layer_s,)
        )
        ours, against = in_turn(runs, lambda: cold_command_s(IMAGE, kernel=str(package)), lambda: cold_command_s(IMAGE))
        yield slower(f"a cold boot with {_KERNEL}; against the image's own kernel", None, ours, against)


def _unpacked_s(package: Path, cache: str) -> float:
    with environment("VMTASKS_CACHE", cache):
        return timed(lambda: Kernel.get(package))


def _by_hand_s(package: Path, target: str) -> float:
    argv = ["dpkg-deb", "--extract", os.fspath(package), target]
    return timed(lambda: subprocess.run(argv, stdin=subprocess.DEVNULL, check=True))
