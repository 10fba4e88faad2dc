"""Tar streams between host and guest; what comes from a guest is not trusted.

Python 3.11.2, which Debian 12 has, lacks the extraction filters of PEP 706; the rules here are stricter: a
member never leaves the target, neither by its name nor through a link, and only files, directories and links
that stay inside are made.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn, Protocol

from vmtasks.errors import HostError


class ByteWriter(Protocol):
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
    """Return everything below *root* (or *root* itself, a file) as members, directories before what is in them.

    :raise HostError: a directory cannot be read.
    """
    if root.is_symlink() or not root.is_dir():
        return (Member(root, prefix or root.name),)
    found = [Member(root, prefix)] if prefix else []
    for directory, names, files in os.walk(root, onerror=_unreadable):
        names.sort()
        for name in sorted([*files, *names]):
            path = Path(directory, name)
            found.append(Member(path, str(PurePosixPath(prefix, *path.relative_to(root).parts))))
    return tuple(found)


def size_bytes(members: Iterable[Member]) -> int:
    """Return roughly what the archive of *members* will take."""
    return sum(512 + member.source.lstat().st_size for member in members)


def pack(members: Iterable[Member], sink: ByteWriter, *, mtime_s: int | None = None) -> None:
    """Write *members* to *sink* as a tar stream: modes, links and times are kept, owners are root.

    :param mtime_s: the time, in seconds since the epoch, to give to all of them instead of their own; their
        modes are then those that git knows, too, so that the checkout's umask does not matter.
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
                if mtime_s is not None:
                    info.mtime = mtime_s
                    info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
                if info.isreg():
                    with member.source.open("rb") as content:
                        archive.addfile(info, content)
                else:
                    archive.addfile(info)
            except OSError as problem:
                if problem.filename is None:
                    raise
                _unreadable(problem)


def _unreadable(problem: OSError) -> NoReturn:
    raise HostError(f"cannot send {problem.filename} to the guest: {problem.strerror}") from problem
