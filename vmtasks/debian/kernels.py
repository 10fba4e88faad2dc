"""Kernels that are installed for good in a guest, and are run by its next reboot."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from vmtasks.debian import apt
from vmtasks.errors import TestFailed, UsageError
from vmtasks.guest import Guest
from vmtasks.guest.boot_loader import BootLoader
from vmtasks.guest.direct_boot import choose_installed
from vmtasks.guest.next_boot import words_of
from vmtasks.guest.running_kernel import expect_running

__all__ = ["expect_installable", "expect_running", "install"]

_KERNEL_OF = """# find the kernel of a package, or of what a metapackage depends on
for p in @PACKAGE@ $(dpkg-query --show --showformat '${Depends}' @PACKAGE@ | grep -o 'linux-image-[^ ,(|]*'); do
    dpkg-query --listfiles "$p" 2>/dev/null | grep '^/boot/vmlinu[xz]-'
done
:"""


def install(guest: Guest, kernel: str, *, args: Sequence[str] = (), default: bool = True, once: bool = False) -> str:
    """Install a kernel, have it booted from the next reboot on, and return its release.

    The guest's boot loader boots it; a machine of QEMU's that boots directly, QEMU, which is started anew.

    :param kernel: the name of a Debian package, or a .deb file.
    :param args: arguments of the kernel, beside those that its own entry has, or that the image has.
    :param default: boot it from now on.
    :param once: boot it the next time alone.
    :return: what ``uname -r`` says once it runs.
    :raise UsageError: it is no kernel, or the guest has nothing by which one can be chosen.
    :raise HostError: the kernel cannot be kept on the machine's host.
    :raise CommandFailed: it cannot be installed.
    :raise TestFailed: it is installed, and the boot loader has no entry for it.
    """
    expect_installable(kernel)
    direct = guest.direct_boots
    words = words_of(args)
    if direct and words and not (default or once):
        raise UsageError(
            f"cannot keep arguments for a kernel that {guest.name} is not to boot: it has no boot loader to keep them",
            hint="reboot(kernel=RELEASE, kernel_args=…) boots it with them",
        )
    loader = None if direct else guest.boot_loader
    package = kernel
    if kernel.endswith(".deb"):
        with guest.tmp_dir() as room:
            path = f"{room}/{Path(kernel).name}"
            guest.put(Path(kernel).resolve(), path)  # what a link leads to
            package = guest.query(["dpkg-deb", "--field", path, "Package"]).strip()
            apt.install(guest, [path])
    else:
        apt.install(guest, [kernel])
    release = _release_of(guest, package)
    if loader:
        _enter(guest, loader, package, release, words, default=default, once=once)
    elif direct:
        choose_installed(guest, direct, release, words, default=default, once=once)
    return release


def _enter(
    guest: Guest, loader: BootLoader, package: str, release: str, args: Sequence[str], *, default: bool, once: bool
) -> None:
    """Have the boot loader boot a kernel that is installed."""
    ours = f"vmtasks-{release}"
    entries = [
        entry
        for entry in loader.entries
        if entry.kernel.endswith(f"-{release}") and "single" not in entry.args and entry.id != ours
    ]
    if not entries:
        raise TestFailed(f"the boot loader of {guest.name} has no entry for {release}, though {package} is installed")
    # The first entry is the newest kernel's, whichever that is; that of the submenu is this one's and stays it.
    entry = entries[-1]
    if args:
        words = [*(word for word in entry.args if word not in args), *args]
        entry = loader.add_entry_like(entry, entry_id=ours, args=words)
    if once:
        loader.boot_once(entry.id)
    elif default:
        loader.set_default(entry.id)


def expect_installable(kernel: str) -> None:
    """See that a kernel is a package of Debian's: one that is installed, and not unpacked.

    :raise UsageError: it is something else, or there is no such file.
    """
    if not kernel:
        raise UsageError("no kernel is named", hint="--kernel linux-image-amd64, or --kernel FILE.deb")
    if kernel.endswith(".deb"):
        if not Path(kernel).is_file():
            raise UsageError(f"cannot install the kernel {kernel}: there is no such file")
    elif "/" in kernel or kernel.endswith((".rpm", ".tar", ".gz", ".xz", ".zst")):
        raise UsageError(
            f"cannot install the kernel {kernel}: that takes a Debian package, by its name or as a .deb file",
            hint="a machine that is booted directly takes any kernel: see --kernel of other recipes",
        )


def _release_of(guest: Guest, package: str) -> str:
    found = guest.query(_KERNEL_OF.replace("@PACKAGE@", shlex.quote(package))).split()
    releases = sorted({path.partition("-")[2] for path in found})
    if len(releases) != 1:
        what = f"several kernels: {', '.join(releases)}" if releases else "no kernel"
        raise UsageError(f"{package} has {what}", hint="a package with one is wanted, such as linux-image-amd64")
    return releases[0]
