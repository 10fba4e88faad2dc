"""Tar streams between host and guest; what comes from a guest is not trusted.

Python 3.11.2, which Debian 12 has, lacks the extraction filters of PEP 706; the rules here are stricter: a
member never leaves the target, neither by its name nor through a link, and only files, directories and links
that stay inside are made.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from vmtasks.errors import HostError

EXTRACT_LIMIT_BYTES = 16 * 1024**3
_COPY_BYTES = 1024 * 1024


class Sink(Protocol):
    """Where an archive is written to."""

    def write(self, data: bytes, /) -> int:
        """Take all of *data*."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the host's, and the name that it has in the archive."""

    source: Path
    name: str


def members_of(root: Path, files: Iterable[Path], *, prefix: str = "") -> tuple[Member, ...]:
    """Name the *files* (relative to *root*) as members below *prefix*."""
    return tuple(Member(root / file, str(PurePosixPath(prefix, *file.parts))) for file in files)


def walk(root: Path, *, prefix: str = "") -> tuple[Member, ...]:
    """Return everything below *root* (or *root* itself, a file) as members, directories before what is in them."""
    if root.is_symlink() or not root.is_dir():
        return (Member(root, prefix or root.name),)
    found = [Member(root, prefix)] if prefix else []
    for directory, names, files in os.walk(root):
        names.sort()
        here = Path(directory)
        links = [name for name in names if (here / name).is_symlink()]
        for name in sorted([*files, *names]):
            path = here / name
            found.append(Member(path, str(PurePosixPath(prefix, *path.relative_to(root).parts))))
        for name in links:
            names.remove(name)
    return tuple(found)


def size_bytes(members: Iterable[Member]) -> int:
    """Return roughly what the archive of *members* will take."""
    return sum(512 + member.source.lstat().st_size for member in members)


def pack(members: Iterable[Member], sink: Sink) -> None:
    """Write *members* to *sink* as a tar stream: modes, links and times are kept, owners are root.

    :raise HostError: a file cannot be read.
    """
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=256 * 1024) as archive:  # type: ignore[call-overload]
        for member in members:
            try:
                info = archive.gettarinfo(str(member.source), member.name)
                if info is None:
                    continue  # a socket: there is nothing to send
                info.uid = info.gid = 0
                info.uname = info.gname = "root"
                if info.isreg():
                    with member.source.open("rb") as content:
                        archive.addfile(info, content)
                else:
                    archive.addfile(info)
            except OSError as problem:
                if problem.filename is None:
                    raise
                raise HostError(f"cannot send {member.source} to the guest: {problem.strerror}") from problem


def unpack(source: IO[bytes], target: Path, *, limit_bytes: int = EXTRACT_LIMIT_BYTES) -> tuple[list[Path], list[str]]:
    """Extract a tar stream from a guest below *target*.

    :return: the files and links that were made, and a sentence for each member that was left out.
    :raise HostError: the disk is full, *target* cannot be written, or the stream is more than *limit_bytes*.
    """
    made: list[Path] = []
    refused: list[str] = []
    room_bytes = limit_bytes
    try:
        target.mkdir(parents=True, exist_ok=True)
        top = target.resolve()
        with tarfile.open(fileobj=source, mode="r|", errorlevel=1) as archive:
            for member in archive:
                room_bytes -= max(0, member.size)
                if room_bytes < 0:
                    raise HostError(f"cannot take more than {limit_bytes} bytes out of the guest at once")
                if why := _extract(archive, member, top, made):
                    refused.append(f"left {member.name!r} in the guest: {why}")
    except tarfile.TarError as problem:
        raise HostError(f"cannot unpack what the guest sent: {problem}") from problem
    except OSError as problem:
        raise HostError(f"cannot write to {target}: {problem.strerror or problem}") from problem
    return made, refused


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, top: Path, made: list[Path]) -> str:
    """Make one member; return why not, if not."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        return "its name leads outside"
    path = top.joinpath(*name.parts)
    if path == top:
        return "" if member.isdir() else "it would replace the target"
    # Resolved anew for every member: an earlier one may have made a link of one of the directories.
    parent = path.parent.resolve()
    if not parent.is_relative_to(top):
        return "a link on the way leads outside"
    parent.mkdir(parents=True, exist_ok=True)
    path = parent / path.name
    if member.isdir():
        if path.is_symlink():
            return "a link stands in its place"
        path.mkdir(exist_ok=True)
        path.chmod((member.mode | 0o700) & 0o777)
        return ""
    if member.issym():
        if not _stays_inside(parent / member.linkname, top) or PurePosixPath(member.linkname).is_absolute():
            return f"it is a link that leads outside, to {member.linkname!r}"
        _clear(path)
        path.symlink_to(member.linkname)
    elif member.islnk():
        original = top.joinpath(*PurePosixPath(member.linkname).parts)
        if not _stays_inside(original, top) or original.is_symlink() or not original.is_file():
            return f"it is another name of {member.linkname!r}, which did not come along"
        _clear(path)
        os.link(original, path)
    elif member.isreg():
        _clear(path)
        content = archive.extractfile(member)
        with path.open("xb") as file:
            if content is not None:
                shutil.copyfileobj(content, file, _COPY_BYTES)
        path.chmod(member.mode & 0o777)
        os.utime(path, (member.mtime, member.mtime))
    else:
        return "it is neither a file, nor a directory, nor a link"
    made.append(path)
    return ""


def _stays_inside(path: Path, top: Path) -> bool:
    return path.resolve().is_relative_to(top)


def _clear(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
