"""Files that go into a directory of the guest's: a tree of this host's, one file, or a tarball's content."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks.config.paths import expanded, is_at
from vmtasks.errors import UsageError
from vmtasks.files.checksum import sha256_of
from vmtasks.installables.base import Installable
from vmtasks.installables.fetched_file import FetchedFile
from vmtasks.installables.kept import key_of
from vmtasks.kernel.origin import is_address
from vmtasks.project import tree_files
from vmtasks.project.release import is_tarball

if TYPE_CHECKING:
    from vmtasks.guest import Guest


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTree:
    """A directory of this host, or one file; of a git checkout what git knows, or would."""

    path: Path
    target: str
    """The guest's directory, whose content it becomes."""

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def fetch(self) -> str:
        """See that it is there; see :class:`Installable`."""
        try:
            return key_of(*(f"{one} {_content_of(self._root / one)}" for one in self._files()))
        except OSError as problem:
            raise UsageError(f"cannot read {problem.filename or self.path}: {problem.strerror}") from problem

    def install(self, guest: Guest) -> str:
        """Put it into the guest, and return the directory; see :class:`Installable`."""
        guest.query(["mkdir", "-p", self.target])
        files = self._files()
        if self._root == self.path:
            guest.put(self.path, self.target, files=files)
        else:
            guest.put(self.path.resolve(), f"{self.target}/{self.path.name}")
        return self.target

    @property
    def _root(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def _files(self) -> tuple[Path, ...]:
        """Return the files that go along, relative to their root.

        :raise UsageError: there are none.
        """
        if is_at(self.path, stat.S_ISREG):
            return (Path(self.path.name),)
        if not is_at(self.path, stat.S_ISDIR):
            raise UsageError(f"there is no file and no directory {self.path}")
        if not (files := tree_files(self.path)):
            raise UsageError(f"there is nothing in {self.path}", hint="name a directory with files in it")
        return files


def _content_of(path: Path) -> str:
    """Return what tells a file from any other that may have its name: its mode and its sum, or where it leads."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return f"link {str(path.readlink())!r}"
    content = sha256_of(path) if stat.S_ISREG(status.st_mode) else "nothing"
    return f"{status.st_mode:o} {content}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tarball:
    """What is in a tarball, of this host's or from elsewhere: without its top directory, where all is in one."""

    file: FetchedFile
    target: str
    """The guest's directory, whose content it becomes."""

    @property
    def name(self) -> str:
        """Its path or address."""
        return self.file.name

    def fetch(self) -> str:
        """Have it on this host; see :class:`Installable`."""
        self.file.fetch()
        return self.file.digest()

    def install(self, guest: Guest) -> str:
        """Unpack it in the guest, and return the directory; see :class:`Installable`.

        :raise CommandFailed: it is damaged, or the guest lacks the program that unpacks its kind.
        """
        with guest.tmp_dir() as room:
            packed = f"{room}/{self.file.file_name}"
            with self.file.held() as path:
                guest.put(path.resolve(), packed)
            guest.query(["mkdir", "-p", self.target])
            guest.succeed(["tar", "--extract", f"--file={packed}", f"--directory={self.target}", "--no-same-owner"])
        top = 'cd "$1"; set -- * .[!.]*; [ $# = 2 ] && [ -d "$1" ] && [ ! -e "$2" ] && echo "$1" || :'
        if only := guest.query(["sh", "-c", top, "sh", self.target]).removesuffix("\n"):
            return f"{self.target}/{only}"
        return self.target


def files_of(name: str, target: str) -> Installable:
    """Return what a user names: a directory, a tarball or another file of this host, or the address of a tarball.

    :param target: the guest's directory for it.
    :raise UsageError: it is not there, or it cannot be fetched so.
    """
    if is_address(name):
        return Tarball(file=FetchedFile.of(name), target=target)
    path = expanded(name)
    if not name or not is_at(path):
        raise UsageError(f"there is no file and no directory {name or '(no name is given)'}")
    if is_tarball(path.name) and is_at(path, stat.S_ISREG):
        return Tarball(file=FetchedFile.of(name), target=target)
    return FileTree(path=path, target=target)
