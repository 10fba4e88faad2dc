"""Debian packages from files, and kernels that a guest's boot loader boots."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmtasks.debian import kernels, packages
from vmtasks.errors import UsageError
from vmtasks.installables.fetched_file import FetchedFile
from vmtasks.installables.kept import key_of

if TYPE_CHECKING:
    from vmtasks.guest import Guest


@dataclass(frozen=True, slots=True, kw_only=True)
class DebFiles:
    """.deb files, of this host or from elsewhere, which apt installs with what they depend on."""

    files: tuple[FetchedFile, ...]

    @classmethod
    def of(cls, names: Sequence[str]) -> DebFiles:
        """Return those that a user names: paths, or addresses with their sums.

        :raise UsageError: an address has none, or there are no names.
        """
        if not names:
            raise UsageError("no .deb file is named")
        return cls(files=tuple(map(FetchedFile.of, names)))

    @property
    def name(self) -> str:
        """The names of the files."""
        return ", ".join(file.file_name for file in self.files)

    def fetch(self) -> str:
        """Have them on this host; see :class:`Installable`."""
        for file in self.files:
            file.fetch()
        return key_of(*(file.digest() for file in self.files))

    def install(self, guest: Guest) -> str:
        """Install them, and see that it is they that are installed; return their packages' names.

        :raise TestFailed: apt cannot.
        """
        with ExitStack() as held:
            found = packages.find([str(held.enter_context(file.held())) for file in self.files])
            packages.serve(guest, found)
            packages.install(guest, found)
        packages.forget(guest)
        return " ".join(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootedKernel:
    """A kernel that a guest's boot loader boots from its next reboot on."""

    kernel: str
    """The name of a Debian package, or a .deb file: a path, or an address with its sum."""
    args: tuple[str, ...] = ()
    """More arguments of the kernel."""

    @property
    def name(self) -> str:
        """The kernel as it was named."""
        return self.kernel.partition("#")[0]

    def fetch(self) -> str:
        """Have its file on this host, if it is one; see :class:`Installable`."""
        file = self._file()
        return key_of(file.digest() if file else self.kernel, *self.args)

    def install(self, guest: Guest) -> str:
        """Install it, and return its release.

        :raise UsageError: the guest has nothing by which one can be chosen, or it is no kernel.
        """
        if not (file := self._file()):
            return kernels.install(guest, self.kernel, args=self.args)
        with file.held() as path:
            return kernels.install(guest, str(path), args=self.args)

    def _file(self) -> FetchedFile | None:
        """Return the file that it is in; None for a package of the archive.

        :raise UsageError: it cannot be installed.
        """
        file = FetchedFile.of(self.kernel)
        if file.sha256 or file.name.endswith(".deb"):
            with file.held() as path:
                kernels.expect_installable(str(path))
            return file
        kernels.expect_installable(self.kernel)
        return None
