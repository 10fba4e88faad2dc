"""A file: one of this host, or one elsewhere, which is fetched once and must be what its sum says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import unquote, urlsplit

from vmtasks import events
from vmtasks.config.paths import expanded
from vmtasks.errors import HostError, UsageError
from vmtasks.files.checksum import sha256_of
from vmtasks.installables.kept import kept, key_of
from vmtasks.kernel.origin import is_address, url_and_sum

_HARMLESS = re.compile(r"[^\w.+~-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """A file, as a user names it."""

    name: str
    """Its path, or its address without the sum."""
    sha256: str = ""
    """What must come of an address; empty: it is a file of this host."""

    @classmethod
    def of(cls, name: str) -> Self:
        """Return the file that a name is of: a path, or an address with its sum behind it (``URL#sha256=SUM``).

        :raise UsageError: it is an address without a sum, or in the home of nobody.
        """
        if not is_address(name):
            return cls(name=str(expanded(name)))
        url, sha256 = url_and_sum(name)
        return cls(name=url, sha256=sha256)

    @property
    def file_name(self) -> str:
        """What it is called by itself."""
        if not self.sha256:
            return Path(self.name).name
        last = PurePosixPath(unquote(urlsplit(self.name).path)).name
        return _HARMLESS.sub("-", last).strip("-.") or "file"

    @contextmanager
    def held(self) -> Iterator[Path]:
        """Have it on this host, unless it is there, and yield where it stays until the end of the block.

        :raise UsageError: there is no such file.
        :raise HostError: the network or the disk failed, or something else came.
        """
        if self.sha256:
            key = key_of(self.sha256, self.file_name)  # one sum may come under several names, each with its own place
            with kept(key, make=self._download, is_whole=self._is_whole) as directory:
                yield directory / self.file_name
            return
        path = Path(self.name)
        if not path.is_file():
            raise UsageError(f"there is no file {self.name}")
        yield path

    def fetch(self) -> None:
        """Have it on this host, unless it is there; see :meth:`held`."""
        with self.held():
            pass

    def digest(self) -> str:
        """Return its sum.

        :raise UsageError: it cannot be read.
        """
        if self.sha256:
            return self.sha256
        try:
            with self.held() as path:
                return sha256_of(path)
        except OSError as problem:
            raise UsageError(f"cannot read {self.name}: {problem.strerror}") from problem

    def _is_whole(self, directory: Path) -> bool:
        try:
            return sha256_of(directory / self.file_name) == self.sha256
        except OSError:
            return False

    def _download(self, directory: Path) -> None:
        from vmtasks.image.download import download  # which a listing of the recipes need not load

        events.emit(events.Note(text=f"fetching {self.name}"))
        try:
            found = download(self.name, directory / self.file_name, detail="fetching a file")
        except ValueError as problem:
            raise UsageError(f"cannot fetch {self.name}: that is no URL") from problem
        if found != self.sha256:
            raise HostError(
                f"cannot use {self.name}: its sha256 is {found}, and {self.sha256} was asked for",
                hint="if a new version is what you want, put its sum behind the #",
            )
