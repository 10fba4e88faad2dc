"""What a machine starts from, and what is around it: data, before anything runs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vmtasks.cache.snapshot import Snapshot
from vmtasks.config.settings import HostSettings
from vmtasks.host.accelerator import Choice
from vmtasks.host.local import LOCAL_HOST, Host
from vmtasks.image.baked import BakedImage
from vmtasks.process.user import user_name
from vmtasks.spec import Access, Machine, Ram, Start
from vmtasks.ssh.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistentDisk:
    """How a disk that is kept comes to its machine, and from it."""

    prepare: tuple[tuple[str, ...], ...] = ()
    """Commands that make the disk, which is the last word of each."""
    beneath: tuple[Path, ...] = ()
    """What the disk is laid over, besides images of ours: QEMU reads that."""
    move: tuple[tuple[Path, Path], ...] = ()
    """Pairs of files, the first to become the second once QEMU has ended as it should; otherwise the first goes."""
    power_off: Command | None = ("systemctl", "--no-block", "poweroff")
    """What is run in the guest in the end; None: it has a power button."""
    power_off_limit_s: float = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchConfig:
    """Everything around a machine that is not the machine: where it comes from and what it may use."""

    image: str
    baked: BakedImage | None
    """None: the image is somebody else's, and nothing is known of it."""
    access: Access
    choice: Choice
    settings: HostSettings
    place: Host = LOCAL_HOST
    """The host that runs it; *baked* is there, and so is all that it starts from."""
    persistent_disk: PersistentDisk = PersistentDisk()
    purpose: str = ""
    """What it is for, in the words that others on this host read while they wait."""
    lifetime_s: int = 0
    """How long its supervisor lets it live; 0: as long as its caller does."""
    log_dir: Path | None = None
    console: Path | None = None
    """The file that receives the serial console of every attempt; None: each has a file of its own among the logs."""
    queue: Path | None = None
    """The queue in which it waits for its slot; None: the host's. A group with slots for all has one of its own."""
    check: Callable[[], None] = lambda: None
    """Called while the machine starts, and in each wait for its QEMU; raises when nothing needs it any more."""
    hears_alarms: bool = True
    """Whether its console is watched for what its kernel says when something is wrong."""
    has_transfer_disk: bool = True
    """Whether files may travel on a disk of their own; it is one more that the guest sees."""
    first_look_s: float = 0.0
    """How long to wait before the first look whether the guest answers."""

    @property
    def public_purpose(self) -> str:
        """What it is for, in the words of its ticket: those who wait on another host do not know our users."""
        if self.place.is_local:
            return self.purpose
        return f"{self.purpose}, of {user_name()} at {socket.gethostname()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootSource:
    """What a machine starts from."""

    snapshot: Snapshot | None = None
    """None: it boots from its disk."""
    reason: str = ""
    """Why this and nothing quicker."""
    forkable: bool = False
    """Whether its memory is to be a file of its own, so that it can be saved in turn."""
    prepared: str = ""
    """The key of the work that *snapshot* has behind it, where it was found by that."""
    fallback: BootSource | None = None
    """What to start from if *snapshot* does not serve; None: nothing else is the same machine."""

    @property
    def kind(self) -> Start:
        """How such a start is called."""
        if self.snapshot is None:
            return "cold"
        return "clone" if self.snapshot.kind == "template" else "fork"


def launch_form(machine: Machine, source: BootSource, directory: Path, *, has_transfer_disk: bool = True) -> Machine:
    """Return *machine* as it is started from *source* in a directory of its own: a pure function."""
    transfer_disk = directory / "transfer" if has_transfer_disk and machine.hardware == "lean" else None
    own = replace(machine, transfer_disk=transfer_disk)
    if machine.ephemeral:
        own = replace(own, disk=directory / "disk.qcow2", disk_format="qcow2")
    if source.forkable:
        own = replace(own, ram=Ram(file=directory / "ram", shared=True))
    elif source.snapshot is not None:
        own = replace(own, ram=Ram(file=source.snapshot.ram, shared=False))
    return replace(own, waits=source.snapshot is not None)


def lock_files_of(launch: LaunchConfig, source: BootSource) -> tuple[Path, ...]:
    """Return the lock files of everything that the machine's disk is laid over."""
    if source.snapshot is not None:
        return source.snapshot.lock_files
    return (launch.baked.in_use,) if launch.baked else ()


def copies_of(form: Machine, snapshot: Snapshot) -> Iterator[tuple[Path, Path]]:
    """Yield what a machine that starts from a saved one has a copy of."""
    yield snapshot.overlay, form.disk
    if form.ram and form.ram.shared:
        yield snapshot.ram, form.ram.file
