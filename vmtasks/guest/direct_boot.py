"""The kernels of a guest that QEMU boots directly: without a boot loader, QEMU has to have what is booted.

A kernel that is installed in the guest is brought to the host, with an initrd that the guest makes for it, and QEMU is
started anew with both at the next reset. A guest may be hostile: what comes from it is bounded, and goes into files
that are made for it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from vmtasks.errors import HostError, InfrastructureError, TestFailed, UsageError
from vmtasks.guest.commands import GuestCommands
from vmtasks.guest.running_kernel import expect_running
from vmtasks.spec import DirectKernel

if TYPE_CHECKING:
    from vmtasks.ssh.channel import Show

FILE_LIMIT_BYTES = 512 * 1024**2
"""How large a kernel or an initrd may be: Debian's have 15 and 60 MB at most."""
_FETCH_LIMIT_S = 600.0
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]*")
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "ext4", "crc32c_generic")
"""What finds the root, whichever kernel it is; what is built in is left out."""
UNCOMPRESSED = """\
if ! grep -qs '[.]xz' /usr/share/tiny-initramfs/functions && [ "$(find "$1" -name '*.ko.xz' -print -quit)" ]; then
    find "$1" -name '*.ko.xz' -exec xz --decompress {} +
    depmod "$1"
fi
"""
"""Shell that uncompresses the modules of the kernel $1, in /lib/modules, where tiny-initramfs cannot load such."""

# The lean initrd is made anew each time: what a hook has made has other modules. The other kind, the hook has made.
_MAKE_INITRD = (
    """# make an initrd for a kernel that is booted directly
set -e
set -- @RELEASE@
if [ -x /usr/sbin/mktirfs ]; then
    cd /lib/modules
"""
    + UNCOMPRESSED
    + """    initrd=@ROOM@/initrd
    /usr/sbin/mktirfs -m no --include-modules=@MODULES@ -o "$initrd" "$1" >&2
else
    initrd=/boot/initrd.img-$1
    [ -f "$initrd" ] || mkinitramfs -o "$initrd" "$1" >&2
fi
echo "$initrd"
"""
)


class Rooms(Protocol):
    """Directories for the files of kernels, on the host of a machine."""

    def new(self) -> Path:
        """Return a new one, that QEMU reads.

        :raise HostError: it cannot be made.
        """

    def new_file(self, path: Path) -> AbstractContextManager[IO[bytes]]:
        """Return a block that has a file to be written, which is there as *path* after it.

        :raise HostError: it cannot be kept there.
        :raise OSError: it cannot be kept here.
        """


class BootChoice(Protocol):
    """What QEMU boots a machine with, beyond the next reset."""

    image: DirectKernel
    """What the machine was started with."""
    default: DirectKernel
    """What it boots from the next reset on."""
    default_release: str
    """Of its kernel; empty: it is the image's."""

    @property
    def rooms(self) -> Rooms:
        """Where the files of kernels are kept for it."""

    def choose(self, *, default: DirectKernel, release: str, once: DirectKernel | None = None) -> None:
        """Have the machine boot with *default* from its next reset on, or after that with *once*.

        :param release: what *default* is called in ``default_release``.
        :raise HostError: its supervisor cannot see to that.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectNextBoot:
    """The next boot of such a guest, as it was asked for."""

    boots: BootChoice
    release: str
    """Of its kernel; empty: that of its default, whichever it is."""
    args: tuple[str, ...]
    """What must be on the kernel's command line, among others."""

    @classmethod
    def choose(cls, guest: GuestCommands, boots: BootChoice, release: str, args: tuple[str, ...]) -> DirectNextBoot:
        """Have a kernel booted the next time alone.

        :param release: of a kernel that is installed in the guest; empty: its default.
        :param args: more arguments, for that boot; one of them tells it from all others.
        :raise UsageError: the guest has no such kernel.
        :raise HostError: it cannot be kept on its host, or its supervisor cannot see to that.
        """
        is_default = release in ("", boots.default_release)
        kernel = boots.default if is_default else fetched(guest, boots, release)
        boots.choose(default=boots.default, release=boots.default_release, once=with_args(kernel, args))
        return cls(boots=boots, release=release, args=args)

    def prove(self, guest: GuestCommands) -> None:
        """See that the guest, which has rebooted, runs what was asked for.

        :raise TestFailed: it does not.
        """
        expect_running(guest, self.release, self.args)

    def take_back(self) -> None:
        """Have the machine boot its default again."""
        with suppress(InfrastructureError, TestFailed):
            self.boots.choose(default=self.boots.default, release=self.boots.default_release)


def choose_installed(
    guest: GuestCommands, boots: BootChoice, release: str, args: Sequence[str], *, default: bool, once: bool
) -> None:
    """Have a kernel that is installed in the guest booted from its next reboot on, or the next time alone.

    :param args: arguments beside those that the machine was started with.
    :raise UsageError: the guest has no such kernel.
    :raise HostError: it cannot be kept on its host, or its supervisor cannot see to that.
    """
    if not (default or once):
        return
    kernel = with_args(fetched(guest, boots, release), args)
    if once:
        boots.choose(default=boots.default, release=boots.default_release, once=kernel)
    else:
        boots.choose(default=kernel, release=release)


def with_args(kernel: DirectKernel, args: Sequence[str]) -> DirectKernel:
    """Return a kernel with more arguments, each once."""
    kept = (word for word in kernel.command_line.split() if word not in args)
    return replace(kernel, command_line=" ".join((*kept, *args)))


def fetched(guest: GuestCommands, boots: BootChoice, release: str) -> DirectKernel:
    """Bring a kernel that is installed in the guest to its host, with an initrd; its arguments are the image's.

    :raise UsageError: the guest has no such kernel, or a file of it is too large.
    :raise CommandFailed: no initrd can be made for it.
    :raise HostError: it cannot be kept there.
    """
    _expect_installed(guest, release)
    with guest.tmp_dir() as there:
        script = _MAKE_INITRD
        for word, value in {"@RELEASE@": release, "@ROOM@": there, "@MODULES@": ",".join(MODULES)}.items():
            script = script.replace(word, shlex.quote(value))
        initrd = guest.query(script).strip()
        room = boots.rooms.new()
        try:
            for name, path in (("vmlinuz", f"/boot/vmlinuz-{release}"), ("initrd", initrd)):
                with boots.rooms.new_file(room / name) as file:
                    _fetch(guest, path, file)
        except OSError as problem:
            raise HostError(f"cannot keep the kernel {release} in {room}: {problem.strerror or problem}") from problem
    return replace(boots.image, kernel=room / "vmlinuz", initrd=room / "initrd")


def _expect_installed(guest: GuestCommands, release: str) -> None:
    known = sorted(guest.query("cd /boot && for f in vmlinuz-*; do [ ! -f $f ] || echo ${f#vmlinuz-}; done").split())
    if release not in known or not _RELEASE.fullmatch(release):
        raise UsageError(
            f"cannot boot {guest.name} with the kernel {release}: it has {', '.join(known) or 'none'} in /boot",
            hint="kernels.install(guest, KERNEL) installs one, and returns its release",
        )


def _fetch(guest: GuestCommands, source: str, file: IO[bytes]) -> None:
    """Write a file of the guest's to one of ours."""
    left_bytes = FILE_LIMIT_BYTES

    def take(data: bytes, _: Show) -> None:
        nonlocal left_bytes
        left_bytes -= len(data)
        if left_bytes < 0:
            raise UsageError(f"cannot boot {guest.name} with {source}: it has more than {FILE_LIMIT_BYTES >> 20} MiB")
        file.write(data)

    guest.run(["cat", "--", source], hide=True, tap=take, timeout_s=_FETCH_LIMIT_S)
    if left_bytes == FILE_LIMIT_BYTES:
        raise UsageError(f"cannot boot {guest.name} with {source}: it is empty")
