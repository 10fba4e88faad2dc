"""What a host needs for guests of an architecture: a program of QEMU's, and for a bake a kernel that runs theirs.

Hosts are amd64 and run programs for i386 themselves. Guests for arm64 are emulated by another program of QEMU's; and
while an image of theirs is baked, the kernel hands its programs to qemu-user, once that is registered with it
(binfmt_misc). Registering changes a host for all who use it, so nothing here does it: it is told what to run.

Source: the kernel's Documentation/admin-guide/binfmt-misc.rst, update-binfmts(8), arch-test(1).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from vmtasks.bootstrap import ARM64_PACKAGES, install_line, missing_packages
from vmtasks.config.here import setup_line
from vmtasks.errors import HostError
from vmtasks.spec import Architecture

BINFMT_MISC = Path("/proc/sys/fs/binfmt_misc")
"""Where the kernel keeps which programs it hands to others; without the file ``register`` it is not mounted."""
EMULATED: frozenset[Architecture] = frozenset({"arm64"})
"""What no amd64 host runs itself, under KVM or otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """The program of QEMU's that is a machine of an architecture."""

    program: str
    package: str
    """Debian's, which has the program."""


_X86 = Emulator(program="qemu-system-x86_64", package="qemu-system-x86")
EMULATORS: Mapping[Architecture, Emulator] = MappingProxyType(
    {"amd64": _X86, "i386": _X86, "arm64": Emulator(program="qemu-system-aarch64", package="qemu-system-arm")}
)


def programs_of(architecture: Architecture) -> dict[str, str]:
    """Return the programs that a machine of an architecture needs, and the Debian packages that have them."""
    emulator = EMULATORS[architecture]
    return {emulator.program: emulator.package, "qemu-img": "qemu-utils"}


def expect_programs(architecture: Architecture) -> None:
    """See that QEMU's programs for machines of an architecture are installed.

    :raise HostError: one is not.
    """
    for program, package in programs_of(architecture).items():
        if shutil.which(program) is None:
            raise HostError(
                f"cannot start a machine: {program} is not installed",
                hint=f"run: {install_line([package])}, and to bake images for arm64: {install_line([*ARM64_PACKAGES])}"
                if package in ARM64_PACKAGES
                else f"run {setup_line()}, which installs it, or `apt install {package}`",
            )


def runs_programs(architecture: Architecture) -> bool:
    """Tell whether this host runs programs for an architecture, itself or by qemu-user: arch-test has one and tries.

    :raise HostError: there is no arch-test.
    """
    try:
        command = ["arch-test", architecture]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        raise HostError(
            f"cannot tell whether this host runs programs for {architecture}: arch-test is not installed",
            hint=f"run {setup_line()}, which installs it",
        ) from None


def expect_runs_programs(architecture: Architecture, what: str) -> None:
    """See that this host runs the programs of an image while it is baked.

    :param what: the image.
    :raise HostError: it does not; the hint is what to run.
    """
    if architecture in EMULATED and not runs_programs(architecture):
        raise HostError(f"cannot bake {what}: this host does not run programs for {architecture}", hint=arm64_remedy())


def arm64_remedy() -> str:
    """Return what to run on this host so that it bakes images for arm64, and runs machines of them."""
    return remedy(missing_packages(ARM64_PACKAGES), is_mounted=(BINFMT_MISC / "register").exists())


def remedy(missing: Sequence[str], *, is_mounted: bool) -> str:
    """Return what to run where programs for arm64 do not: a pure function.

    :param missing: the packages for arm64 that are not installed; where they are, only the kernel is to be told.
    :param is_mounted: whether binfmt_misc is there. In containers it is not, and then the packages cannot register.
    """
    if missing:
        return f"run: {install_line(missing)}"
    mount = () if is_mounted else (f"mount -t binfmt_misc binfmt_misc {BINFMT_MISC}",)
    return f"run as root: {' && '.join((*mount, 'update-binfmts --enable qemu-aarch64'))}"
