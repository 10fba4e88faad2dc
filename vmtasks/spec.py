"""A machine as data: what it is made of, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Accelerator = Literal["kvm", "tcg"]
Architecture = Literal["amd64", "i386"]
Network = Literal["user", "restricted", "none"]
Start = Literal["cold", "clone", "fork"]
"""How a machine starts: from its disk, from a template of its image, from a checkpoint of another machine."""
DiskFormat = Literal["qcow2", "raw"]
EXCHANGE_SERIAL = "vmtasks-exchange"
"""By which a guest knows the disk that files travel on; virtio has room for 20 bytes."""
EXCHANGE_BYTES = 32 * 1024**3
"""How large that disk is; it is sparse, and empty but for the moments of a transfer."""
MAKER = "-template"
"""What the name of a machine ends in that a template is made of."""
NOTE_AT = EXCHANGE_BYTES - 4096
"""Where on that disk a copied machine finds who it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectKernel:
    """A kernel that QEMU loads itself: no firmware menu, no boot loader."""

    kernel: Path
    initrd: Path
    command_line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ram:
    """A file that is the guest's memory."""

    file: Path
    shared: bool
    """Whether what the guest writes goes into the file; if not, the file stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Everything that QEMU's command line is made from.

    ``network``: ``user`` reaches the outside through QEMU's user network; ``restricted`` has the forwarded
    ssh port and nothing else; ``none`` has no network card at all (and so no ssh either).
    """

    name: str
    disk: Path
    disk_format: DiskFormat = "qcow2"
    architecture: Architecture = "amd64"
    memory_mib: int = 1024
    cpus: int = 2
    accelerator: Accelerator = "tcg"
    boot: DirectKernel | None = None
    """None boots from the disk, through the firmware."""
    network: Network = "user"
    seed: Path | None = None
    """A NoCloud seed (ISO 9660) for the first boot of a cloud image."""
    throw_away: bool = True
    """Whether the disk is thrown away at the end, so that nothing need survive a power cut."""
    ram: Ram | None = None
    """None: memory of no file, which cannot be frozen."""
    waits: bool = False
    """Whether it stands still until a frozen state is given to it."""
    exchange: Path | None = None
    """A raw disk of :data:`EXCHANGE_BYTES` through which files travel; None: they go over ssh."""
    extra: tuple[str, ...] = ()
    """More arguments for QEMU, as they are."""
