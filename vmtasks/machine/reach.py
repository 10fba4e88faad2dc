"""Which files a machine's QEMU reaches: its own, what its disk is laid over, and what its caller's arguments name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vmtasks.errors import HostError, UsageError
from vmtasks.host.accelerator import KVM
from vmtasks.image.info import chain_of
from vmtasks.machine.launch import BootSource, LaunchConfig, lock_files_of
from vmtasks.process.landlock import Reach
from vmtasks.spec import Machine

_DEVICES = {
    "tap": ("/dev/net/tun",),
    "vhost": ("/dev/vhost-net", "/dev/vhost-vsock"),
    "pty": ("/dev/ptmx", "/dev/pts"),
    "vfio": ("/dev/vfio", "/sys/bus/pci", "/sys/devices", "/sys/kernel/iommu_groups"),
    "usb-host": ("/dev/bus/usb", "/sys/bus/usb", "/sys/devices"),
    "egl-headless": ("/dev/dri",),
    "gl=on": ("/dev/dri",),
}
"""What QEMU opens that has such a word among its arguments, and no name of a file."""
_NOT_WRITTEN = ("/usr", "/lib", "/lib32", "/lib64")
"""The system's own directories, which QEMU reads anyway."""
_NOT_FILLED = ("/", "/dev", "/etc", "/proc", "/sys", "/root", "/home")
"""No file is made directly in these."""
_NAMED_FILE = re.compile(r"(?:^|[,:=])(?:file:|(?:file|path|filename|logfile)=)((?:[^,]|,,)+)")
"""What is said to be a file, though it has no slash and need not be there."""
_SEPARATOR = re.compile(r"(?<!,),(?!,)|[=:\"{}\[\]\s]+")


def reach_of(machine: Machine, form: Machine, launch: LaunchConfig, source: BootSource, directory: Path) -> Reach:
    """Return what QEMU reaches of a machine that starts from *source* in the form that it has then.

    :param directory: the machine's own; the disk and the memory of most are there.
    """
    beneath = [lock.with_name("disk.qcow2") for lock in lock_files_of(launch, source)]
    read = [*beneath, *launch.persistent_disk.beneath]
    write = [directory, form.disk]
    if machine.ephemeral:
        read.append(machine.disk)
    if form.boot:
        read += [form.boot.kernel, form.boot.initrd]
    if form.seed:
        read.append(form.seed)
    if form.ram:  # QEMU opens for writing also what it maps privately
        write.append(form.ram.file)
    if form.accelerator == "kvm":
        write.append(KVM)
    own = Reach(tuple(map(str, read)), tuple(map(str, write)))
    if not form.extra_args:
        return own
    return own | launch.place.call(reach_of_arguments, form.extra_args, str(Path.cwd()))


def reach_of_arguments(arguments: tuple[str, ...], cwd: str) -> Reach:
    """Return what a caller's own arguments for QEMU name, seen from *cwd*: to write, for they do not say which.

    A file that is not there yet stands for its directory. What images are laid over is read.
    """
    guests_own = {number + 1 for number, word in enumerate(arguments) if word.lstrip("-") == "append"}
    words = [word for number, word in enumerate(arguments) if number not in guests_own]
    named = sorted({str(path) for word in words for path in _paths(word, Path(cwd))})
    beneath = sorted({str(one) for path in named if Path(path).is_file() for one in _beneath(Path(path))})
    devices = (device for part, paths in _DEVICES.items() if any(part in word for word in words) for device in paths)
    return Reach(tuple(beneath), (*named, *devices))


def _paths(word: str, cwd: Path) -> Iterator[Path]:
    """Yield every file or directory that a part of an argument names, or where it says that one be made."""
    parts = set(_SEPARATOR.split(word))
    files = set(_NAMED_FILE.findall(word))
    rests = {word, *(word[found.end() :] for found in _SEPARATOR.finditer(word))}  # a name may have separators in it
    for part in (parts | rests | files) - {""}:
        path = cwd / part.replace(",,", ",")
        with suppress(OSError):  # too long to be a path
            if not path.exists():
                is_name = part in files or (part in parts and "/" in part)
                if not is_name or not path.parent.is_dir():
                    continue
                path = path.parent
            if str(path) not in _NOT_FILLED and not any(path.is_relative_to(one) for one in _NOT_WRITTEN):
                yield path


def _beneath(image: Path) -> list[Path]:
    """Return what an image is laid over; QEMU says what it thinks of one that cannot be read."""
    try:
        return [Path(one["filename"]) for one in chain_of(image)[1:]]
    except (UsageError, HostError):
        return []
