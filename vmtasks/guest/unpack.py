"""Unpack a tar archive that a guest has made, which may contain anything."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, Self

from vmtasks.errors import HostError, TestFailed
from vmtasks.guest.allowance import Allowance
from vmtasks.guest.beneath import beneath
from vmtasks.guest.extract import Place, Refusal, escapes, extract

EXTRACT_LIMIT_BYTES = 16 * 1024**3
EXTRACT_LIMIT_NAMES = 1_000_000
"""How many names an archive may have in all; each directory on the way to a member counts as well, as it is made."""
HEADER_LIMIT_BYTES = 1024 * 1024
SEARCH_LIMIT_BYTES = 256 * 1024 * 1024
"""How far into an archive a file is looked for."""
_REFUSALS = 20
_SHOWN = 200
"""So many members that were left out are named, with so much of their names: a guest can send any number."""


class ByteReader(Protocol):
    """Where an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """Return the next *size* bytes; fewer at the end only."""
        ...


class _Refused:
    """The members that were left out: the first ones by name, and how many more."""

    def __init__(self) -> None:
        self._named: list[str] = []
        self._more = 0

    def add(self, name: str, reason: object) -> None:
        if len(self._named) < _REFUSALS:
            self._named.append(f"left {name[:_SHOWN]!r} in the guest: {reason}")
        else:
            self._more += 1

    def sentences(self) -> list[str]:
        return [*self._named, *([f"left {self._more} more in the guest"] if self._more else [])]


class _Bounded:
    """A stream in which no header is larger than an archive needs: tarfile takes all of one into memory."""

    def __init__(self, source: ByteReader) -> None:
        self._source = source
        self.expect(0)

    def expect(self, size_bytes: int) -> None:
        """Let so many bytes pass, and then the headers of one more member."""
        self._left_bytes = size_bytes + HEADER_LIMIT_BYTES

    def read(self, size: int) -> bytes:
        """Read on.

        :raise ReadError: a header is too large.
        """
        data = self._source.read(size)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise tarfile.ReadError(f"a header is more than {HEADER_LIMIT_BYTES >> 20} MiB")
        return data


class _Strict(tarfile.TarInfo):
    """A header that must be one: to tarfile, whatever is none ends the archive, and files are lost in silence."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """Read the next header.

        :raise ReadError: there is none, and no end of the archive either.
        """
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as problem:
            raise tarfile.ReadError(str(problem)) from problem


def unpack(
    source: ByteReader,
    target: Path,
    *,
    place: Place = lambda name: name,
    limit_bytes: int = EXTRACT_LIMIT_BYTES,
    limit_names: int = EXTRACT_LIMIT_NAMES,
    allowance: Allowance | None = None,
) -> tuple[list[Path], list[str]]:
    """Extract a tar stream from a guest below *target*.

    :param place: where a member of that name goes; None leaves it out.
    :param limit_bytes: how much all of it may be, headers included.
    :param limit_names: how many names there may be in it.
    :param allowance: what all archives of a run may have together.
    :return: the files and links that were made, and a sentence for each member that was left out, up to a number.
    :raise HostError: the disk is full, or *target* cannot be written.
    :raise TestFailed: the guest sent no archive, or one that goes over a limit.
    """
    made: list[Path] = []
    refused = _Refused()
    names = taken_bytes = 0
    allowance = allowance or Allowance()
    try:
        target.mkdir(parents=True, exist_ok=True)
        top = target.resolve()
        bounded = _Bounded(source)
        with (
            beneath(top) as tree,
            tarfile.open(fileobj=bounded, mode="r|", errorlevel=1, tarinfo=_Strict) as archive,  # type: ignore[call-overload]
        ):
            for member in iter(archive.next, None):
                archive.members.clear()  # tarfile would keep all of them
                # The size that a member states need not be what it takes in the stream: it may be sparse.
                bounded.expect(max(0, archive.offset - member.offset_data))
                if archive.offset > limit_bytes:
                    raise TestFailed(f"cannot take more than {limit_bytes} bytes out of the guest at once")
                names += 1 + member.name.count("/")
                if names > limit_names:
                    raise TestFailed(f"cannot take more than {limit_names} names out of the guest at once")
                allowance.take(archive.offset - taken_bytes, 1 + member.name.count("/"))
                taken_bytes = archive.offset
                try:
                    if path := extract(archive, member, tree, place):
                        made.append(path)
                except Refusal as reason:
                    refused.add(member.name, reason)
        made = _without_escapes(made, top, refused)
    # tarfile calls itself for each header of a member.
    except (tarfile.TarError, ValueError, RecursionError) as problem:
        raise TestFailed(f"cannot unpack what the guest sent: {problem}") from problem
    except OSError as problem:
        raise HostError(f"cannot write to {target}: {problem.strerror or problem}") from problem
    return made, refused.sentences()


_COMPRESSED: Mapping[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
"""What opens a compressed file, by its first bytes."""


@contextmanager
def opened(tarball: Path) -> Iterator[IO[bytes]]:
    """Yield a tarball as the stream of bytes that it was compressed from.

    :raise OSError: it cannot be read.
    """
    with tarball.open("rb") as file:
        first = file.read(max(map(len, _COMPRESSED)))
    for magic, opener in _COMPRESSED.items():
        if first.startswith(magic):
            with opener(tarball, "rb") as stream:
                yield stream
            return
    with tarball.open("rb") as stream:
        yield stream


def first_file(source: ByteReader, name: re.Pattern[str], *, limit_bytes: int) -> bytes:
    """Return the content of the first regular file of an archive whose whole name matches; nothing if there is none.

    :param limit_bytes: how much of the file is returned.
    :raise TestFailed: it is no archive, or one with headers larger than any needs.
    """
    bounded = _Bounded(source)
    try:
        with tarfile.open(fileobj=bounded, mode="r|", errorlevel=1, tarinfo=_Strict) as archive:  # type: ignore[call-overload]
            for member in iter(archive.next, None):
                archive.members.clear()
                bounded.expect(max(0, archive.offset - member.offset_data))
                if archive.offset > SEARCH_LIMIT_BYTES:
                    return b""
                if member.isreg() and not member.issparse() and name.fullmatch(member.name):
                    return bytes(file.read(limit_bytes)) if (file := archive.extractfile(member)) else b""
    except (tarfile.TarError, ValueError, RecursionError) as problem:
        raise TestFailed(f"cannot read the archive: {problem}") from problem
    return b""


def _without_escapes(made: list[Path], top: Path, refused: _Refused) -> list[Path]:
    """Remove the links that lead outside by now: a later member may have made a link of what is on their way."""
    escaped = {path for path in made if path.is_symlink() and escapes(path, top)}
    for path in sorted(escaped):
        path.unlink()
        refused.add(str(path.relative_to(top)), "it is a link that leads outside")
    return [path for path in made if path not in escaped]
