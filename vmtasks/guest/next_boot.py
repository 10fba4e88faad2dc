"""A guest's next boot, where it is to have another kernel or other arguments: chosen, and proved afterwards.

The boot loader boots it once; in a machine that has none, QEMU does (:mod:`vmtasks.guest.direct_boot`). Where arguments
are asked for, or nothing else would tell one boot from another, there is a word on the kernel's command line that no
other boot has, and the boot loader has an entry of our own for that: another boot_id is no proof, since any crash makes
one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from vmtasks.errors import InfrastructureError, TestFailed, TimedOut, UsageError
from vmtasks.guest.boot_loader import BootLoader
from vmtasks.guest.commands import GuestCommands
from vmtasks.guest.direct_boot import BootChoice, DirectNextBoot
from vmtasks.guest.grub_config import BootEntry
from vmtasks.guest.running_kernel import expect_running

_ENTRY = "vmtasks-reboot"
_NONCE = "vmtasks.boot"
"""A kernel passes over a parameter with a dot of a module that is not there."""
_RELEASE = re.compile(r".*/vmlinu[xz]-(.+)")


def choose_next_boot(
    guest: GuestCommands, direct: BootChoice | None, kernel: str, args: Sequence[str] | str
) -> NextBoot | DirectNextBoot:
    """Have a guest boot a kernel the next time alone.

    :param direct: what it boots with, where it is booted directly.
    :param kernel: a release, or the id of an entry; empty: its default.
    :param args: more arguments, for that boot.
    :raise UsageError: the guest has no boot loader or no such kernel, or an argument cannot be one.
    :raise CommandFailed: that cannot be written down.
    """
    words = words_of(args)
    if direct is not None:
        return DirectNextBoot.choose(guest, direct, kernel, (*words, _nonce()))
    return NextBoot.choose(guest, kernel, words)


def words_of(args: Sequence[str] | str) -> tuple[str, ...]:
    """Return arguments of a kernel, each a word.

    :raise UsageError: one cannot be such.
    """
    words = tuple(args.split()) if isinstance(args, str) else tuple(args)
    for word in words:
        if not word or set(word) & set(" \t\n'\"\\$`"):
            raise UsageError(f"{word!r} cannot be an argument of the kernel: it is one word, without quotes and $")
    return words


@dataclass(frozen=True, slots=True, kw_only=True)
class NextBoot:
    """The next boot of a guest, as it was asked for."""

    loader: BootLoader
    release: str
    """Of its kernel; empty: the entry does not tell."""
    args: tuple[str, ...]
    """What must be on the kernel's command line, among others."""
    is_ours: bool
    """Whether an entry was made for it."""

    @classmethod
    def choose(cls, guest: GuestCommands, kernel: str, words: tuple[str, ...]) -> NextBoot:
        """Have the boot loader boot a kernel the next time alone.

        :param kernel: a release, or the id of an entry; empty: that of the default entry.
        :param words: more arguments, for that boot.
        :raise UsageError: the guest has no boot loader or no such kernel.
        :raise CommandFailed: that cannot be written down.
        """
        loader = BootLoader(guest)
        entry = _entry_of(loader, guest.name, kernel)
        release = release_of(entry)
        is_ours = bool(words) or not release
        if is_ours:
            words = (*words, _nonce())
            kept = (word for word in entry.args if word not in words and not word.startswith(f"{_NONCE}="))
            entry = loader.add_entry_like(entry, entry_id=_ENTRY, args=(*kept, *words))
        loader.boot_once(entry.id)
        return cls(loader=loader, release=release, args=words, is_ours=is_ours)

    def prove(self, guest: GuestCommands) -> None:
        """See that the guest, which has rebooted, runs what was asked for.

        :raise TestFailed: it does not.
        """
        try:
            expect_running(guest, self.release, self.args)
        finally:
            self._forget()

    def take_back(self) -> None:
        """Have the boot loader boot its default again, if the guest can still be told so: it has not rebooted."""
        with suppress(InfrastructureError, TestFailed, TimedOut):
            self.loader.boot_default()
            self._forget()

    def _forget(self) -> None:
        if self.is_ours:
            with suppress(InfrastructureError, TestFailed, TimedOut):  # the next one of its id replaces it
                self.loader.remove_kernel(_ENTRY)


def _nonce() -> str:
    """Return an argument of the kernel that tells a boot from all others."""
    return f"{_NONCE}={secrets.token_hex(8)}"


def release_of(entry: BootEntry) -> str:
    """Return the release of an entry's kernel, as its file's name has it; empty if it has none."""
    found = _RELEASE.fullmatch(f"/{entry.kernel}")
    return found[1] if found else ""


def _entry_of(loader: BootLoader, name: str, kernel: str) -> BootEntry:
    if not kernel:
        return loader.default
    entries = loader.entries
    named = [entry for entry in entries if entry.id == kernel or entry.id.endswith(f">{kernel}")]
    # The first entry of a release may be that of the newest kernel, whichever that is; one in the submenu stays it.
    usual = [entry for entry in entries if release_of(entry) == kernel and "single" not in entry.args]
    if not (found := named or usual):
        known = ", ".join(sorted({release_of(entry) for entry in entries} - {""})) or "none"
        raise UsageError(
            f"cannot reboot {name} with the kernel {kernel}: its boot loader has {known}",
            hint="kernels.install(guest, KERNEL) installs one, and returns its release",
        )
    return found[-1]
