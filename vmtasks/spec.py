"""A machine as data: what it is made of, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Accelerator = Literal["kvm", "tcg"]
Architecture = Literal["amd64", "i386", "arm64"]
"""Debian's names; arm64 is emulated, since hosts are amd64."""
Network = Literal["user", "restricted", "none"]
AlarmPolicy = Literal["warn", "fail", "off"]
"""What becomes of a run when a guest's kernel reports an error on the console."""
Start = Literal["cold", "clone", "fork"]
"""How a machine starts: from its disk, from a template of its image, from a checkpoint of another machine."""
Hardware = Literal["lean", "pc"]
"""What our own images need and no more, or what QEMU takes for a PC: IDE disks, a VGA card."""
LOCAL = "local"
"""What this host is called where machines may be elsewhere."""
TRANSFER_DISK_SERIAL = "vmtasks-transfer"
"""By which a guest knows the disk that files travel on; virtio has room for 20 bytes. A part of the key of templates:
what runs in one looks for this name."""
TRANSFER_DISK_BYTES = 32 * 1024**3
"""How large that disk is; it is sparse, and empty but for the moments of a transfer."""
MAKER = "-template"
"""What the name of a machine ends in that a template is made of."""
NOTE_AT = TRANSFER_DISK_BYTES - 4096
"""Where on that disk a copied machine finds its identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectKernel:
    """A kernel that QEMU loads itself: no firmware menu, no boot loader."""

    kernel: Path
    initrd: Path
    command_line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to get into a guest, and which host key to expect there."""

    user: str = "root"
    identity: Path | None = None
    """The private key that it lets in; None: those that ssh(1) would offer, of the agent and of ``~/.ssh``."""
    known_hosts: Path | None = None
    """Its host key, under the alias ``vmtasks``, as sshd(8) has such files; None: what answers first is our guest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ram:
    """A file that is the guest's memory."""

    file: Path
    shared: bool
    """Whether what the guest writes goes into the file; if not, the file stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCard:
    """A second network card, on the network of a group of machines.

    What is saved has it without its address and its socket: each copy is given its own.
    """

    mac: str = "56:6d:74:00:00:00"
    """Its address; a copy of a template has the template's until it is told its own."""
    socket: Path | None = None
    """The UNIX socket of the group's switch that it is plugged into; None: nothing is at the other end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Everything that QEMU's command line is made from.

    ``network``: ``user`` reaches the outside through QEMU's user network; ``restricted`` and ``none``, which are the
    same, reach nothing, and are reached through the forwarded ssh port alone.
    """

    name: str
    disk: Path
    disk_format: str = "qcow2"
    """As qemu-img calls it."""
    architecture: Architecture = "amd64"
    memory_mib: int = 1024
    cpus: int = 2
    accelerator: Accelerator = "tcg"
    hardware: Hardware = "lean"
    cpu: str = ""
    """QEMU's name of a processor and its features; empty: all that the accelerator has."""
    card: str = "virtio-net-pci"
    """QEMU's name of the network card."""
    ssh_port: int = 0
    """The host's port that leads to the guest's sshd; 0: the kernel picks one."""
    boot: DirectKernel | None = None
    """None boots from the disk, through the firmware."""
    network: Network = "user"
    seed: Path | None = None
    """A NoCloud seed (ISO 9660) for the first boot of a cloud image."""
    ephemeral: bool = True
    """Whether the disk is thrown away at the end, so that nothing need survive a power cut."""
    ram: Ram | None = None
    """None: memory of no file, which cannot be saved."""
    waits: bool = False
    """Whether it stands still until a saved state is given to it."""
    transfer_disk: Path | None = None
    """A raw disk of :data:`TRANSFER_DISK_BYTES` through which files travel; None: they go over ssh."""
    group_card: GroupCard | None = None
    """None: it is alone."""
    extra_args: tuple[str, ...] = ()
    """More arguments for QEMU, as they are."""


class Checkpoint(Protocol):
    """A machine as it was, for others to start from."""

    @property
    def name(self) -> str:
        """What it was called when it was made."""

    @property
    def on(self) -> str:
        """Where it is, as ``--on`` has it: machines that start from it run there and nowhere else."""

    def drop(self) -> bool:
        """Remove it unless a machine stands on it, and return whether it is gone."""


class FrozenMachine(Checkpoint, Protocol):
    """A machine as it was when something failed in it, for `reopen`."""

    @property
    def directory(self) -> Path:
        """Where it is, on its host."""
