"""What a kernel is told on its command line, by the architecture of its image."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vmtasks.spec import Accelerator, Architecture

_X86 = "console=ttyS0 quiet net.ifnames=0 no_timer_check"
KERNEL_OPTIONS: Mapping[Architecture, str] = MappingProxyType(
    {"amd64": _X86, "i386": _X86, "arm64": "console=ttyAMA0 quiet net.ifnames=0"}
)
"""No probing of a timer that QEMU guarantees, no waiting for disks by name: what a machine needs and no more. The
console is the first serial port, which is another device on each board."""
EMULATED_KERNEL_OPTIONS = "init_on_alloc=0 norandmaps"
"""Debian's kernels clear each page that they hand out. A processor does that fast; by emulation most of a reboot's time
would go to it. And QEMU (7.2) keeps what it has translated by the virtual address that it ran at: where a library gets
another one in each process, all of it is translated anew for each. Without that a process starts in a fifth of the
time, and a package is built in 60 %. Neither is a matter of the architecture."""
KVM_KERNEL_OPTIONS = "tsc=reliable"
"""KVM tells a kernel how fast its counter ticks; so it need not be watched."""


def accelerator_options(accelerator: Accelerator, tsc_khz: int) -> str:
    """Return what a kernel is told because of what runs its machine.

    :param tsc_khz: how fast the counter of an emulated machine ticks, so that it need not be watched. 0: it is not
        known; then the kernel counts, which may go wrong on a busy host, and watches it.
    """
    if accelerator == "kvm":
        return KVM_KERNEL_OPTIONS
    told = f"tsc=reliable tsc_early_khz={tsc_khz} " if tsc_khz else ""
    return f"{told}{EMULATED_KERNEL_OPTIONS}"
