"""Unpack a tar archive that a guest has made, which may contain anything."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, Self

from vmtasks.errors import HostError, TestFailed

EXTRACT_LIMIT_BYTES = 16 * 1024**3
EXTRACT_LIMIT_NAMES = 1_000_000
"""How many names an archive may have in all; each directory on the way to a member counts as well, as it is made."""
HEADER_LIMIT_BYTES = 1024 * 1024
SEARCH_LIMIT_BYTES = 256 * 1024 * 1024
"""How far into an archive a file is looked for."""
_COPY_BYTES = 1024 * 1024
_REFUSALS = 20
_SHOWN = 200
"""So many members that were left out are named, with so much of their names: a guest can send any number."""


class ByteReader(Protocol):
    """Where an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """Return the next *size* bytes; fewer at the end only."""
        ...


class _Refusal(Exception):
    """Why a member is left out."""


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
    place: Callable[[PurePosixPath], PurePosixPath | None] = lambda name: name,
    limit_bytes: int = EXTRACT_LIMIT_BYTES,
    limit_names: int = EXTRACT_LIMIT_NAMES,
) -> tuple[list[Path], list[str]]:
    """Extract a tar stream from a guest below *target*.

    :param place: where a member of that name goes; None leaves it out.
    :param limit_bytes: how much all of it may be, headers included.
    :param limit_names: how many names there may be in it.
    :return: the files and links that were made, and a sentence for each member that was left out, up to a number.
    :raise HostError: the disk is full, or *target* cannot be written.
    :raise TestFailed: the guest sent no archive, or one that goes over a limit.
    """
    made: list[Path] = []
    refused = _Refused()
    names = 0
    try:
        target.mkdir(parents=True, exist_ok=True)
        top = target.resolve()
        bounded = _Bounded(source)
        with tarfile.open(fileobj=bounded, mode="r|", errorlevel=1, tarinfo=_Strict) as archive:  # type: ignore[call-overload]
            for member in iter(archive.next, None):
                archive.members.clear()  # tarfile would keep all of them
                # The size that a member states need not be what it takes in the stream: it may be sparse.
                bounded.expect(max(0, archive.offset - member.offset_data))
                if archive.offset > limit_bytes:
                    raise TestFailed(f"cannot take more than {limit_bytes} bytes out of the guest at once")
                names += 1 + member.name.count("/")
                if names > limit_names:
                    raise TestFailed(f"cannot take more than {limit_names} names out of the guest at once")
                try:
                    if path := _extract(archive, member, top, place):
                        made.append(path)
                except _Refusal as reason:
                    refused.add(member.name, reason)
                except (FileExistsError, NotADirectoryError):
                    refused.add(member.name, "something else stands in its place")
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


def _extract(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    top: Path,
    place: Callable[[PurePosixPath], PurePosixPath | None],
) -> Path | None:
    """Make one member, and return where; None for a directory.

    :raise _Refusal: it is nothing that we make.
    """
    path = _place(member, top, place)
    if member.isdir():
        if path != top:
            _make_directory(path, member)
        return None
    if path == top:
        raise _Refusal("it would replace the target")
    if member.issym():
        _make_symlink(path, member, top)
    elif member.islnk():
        _make_link(path, member, top)
    elif member.issparse():
        raise _Refusal("it is sparse, and takes more room than it came with")
    elif member.isreg():
        _make_file(path, member, archive)
    else:
        raise _Refusal("it is neither a file, nor a directory, nor a link")
    return path


def _place(member: tarfile.TarInfo, top: Path, place: Callable[[PurePosixPath], PurePosixPath | None]) -> Path:
    """Return where a member belongs, in a directory that is there and has no links on its way."""
    member_path = PurePosixPath(member.name)
    if "\0" in member.name + member.linkname:
        raise _Refusal("its name is none")
    if member_path.is_absolute() or ".." in member_path.parts:
        raise _Refusal("its name leads outside")
    name = place(member_path)
    if name is None:
        raise _Refusal("nobody asked for it")
    if not name.parts:
        return top
    # Resolved anew for every member: an earlier one may have made a link of one of the directories.
    parent = _real(top.joinpath(*name.parts[:-1]))
    if not parent.is_relative_to(top):
        raise _Refusal("a link on the way leads outside")
    parent.mkdir(parents=True, exist_ok=True)
    return parent / name.name


def _make_directory(path: Path, member: tarfile.TarInfo) -> None:
    if path.is_symlink():
        raise _Refusal("a link stands in its place")
    path.mkdir(exist_ok=True)
    path.chmod((member.mode | 0o700) & 0o777)


def _make_symlink(path: Path, member: tarfile.TarInfo, top: Path) -> None:
    if member.linkname.startswith("/") or not _stays_inside(path.parent / member.linkname, top):
        raise _Refusal(f"it is a link that leads outside, to {member.linkname!r}")
    _clear(path)
    path.symlink_to(member.linkname)


def _make_link(path: Path, member: tarfile.TarInfo, top: Path) -> None:
    original = top.joinpath(*PurePosixPath(member.linkname).parts)
    is_ours = _stays_inside(original, top) and original.is_file() and not original.is_symlink()
    if not is_ours or _real(original) == path:
        raise _Refusal(f"it is another name of {member.linkname!r}, which did not come along")
    _clear(path)
    path.hardlink_to(original)


def _make_file(path: Path, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    _clear(path)
    content = archive.extractfile(member)
    with path.open("xb") as file:
        if content is not None:
            shutil.copyfileobj(content, file, _COPY_BYTES)
    path.chmod(member.mode & 0o777)
    with suppress(OverflowError, ValueError):  # a time that no clock shows
        os.utime(path, (member.mtime, member.mtime))


def _without_escapes(made: list[Path], top: Path, refused: _Refused) -> list[Path]:
    """Remove the links that lead outside by now: a later member may have made a link of a directory on their way."""
    escaped = {path for path in made if path.is_symlink() and not _stays_inside(path, top)}
    for path in sorted(escaped):
        path.unlink()
        refused.add(str(path.relative_to(top)), "it is a link that leads outside")
    return [path for path in made if path not in escaped]


def _stays_inside(path: Path, top: Path) -> bool:
    return _real(path).is_relative_to(top)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve() raises where links make a circle


def _clear(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
