"""Tar streams between host and guest; what comes from a guest is not trusted.

Python 3.11.2, which Debian 12 has, lacks the extraction filters of PEP 706; the rules here are stricter: a
member never leaves the target, neither by its name nor through a link, and only files, directories and links
that stay inside are made.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import NoReturn, Protocol, Self

from vmtasks.errors import HostError
from vmtasks.guest.beneath import Beneath, beneath


class ByteWriter(Protocol):
    """Where an archive is written to."""

    def write(self, data: bytes, /) -> int:
        """Take all of *data*."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the host's, and the name that it has in the archive."""

    root: Path
    """The directory that it is in or below; on the way from there no link is followed."""
    path: PurePath
    """Where it is in *root*."""
    name: str

    @classmethod
    def of(cls, source: Path, name: str) -> Self:
        """Return a file wherever it is: that is the user's word, and links on the way there are followed."""
        return cls(source.parent, PurePath(source.name), name)

    @property
    def source(self) -> Path:
        """Where it is."""
        return self.root / self.path


def members_of(root: Path, files: Iterable[Path], *, prefix: str = "") -> tuple[Member, ...]:
    """Name the *files* (relative to *root*) as members below *prefix*."""
    return tuple(Member(root, file, str(PurePosixPath(prefix, *file.parts))) for file in files)


def walk(root: Path, *, prefix: str = "") -> tuple[Member, ...]:
    """Return everything below *root* (or *root* itself, a file) as members, directories before what is in them.

    :raise HostError: a directory cannot be read.
    """
    if root.is_symlink() or not root.is_dir():
        return (Member.of(root, prefix or root.name),)
    found = [Member.of(root, prefix)] if prefix else []
    for directory, names, files in os.walk(root, onerror=_unreadable):
        names.sort()
        for name in sorted([*files, *names]):
            path = Path(directory, name).relative_to(root)
            found.append(Member(root, path, str(PurePosixPath(prefix, *path.parts))))
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
    trees: dict[Path, Beneath] = {}
    with (
        ExitStack() as stack,
        tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=256 * 1024) as archive,  # type: ignore[call-overload]
    ):
        for member in members:
            try:
                if member.root not in trees:
                    trees[member.root] = stack.enter_context(beneath(member.root))
                _add(archive, member, trees[member.root], mtime_s)
            except OSError as problem:
                if problem.filename is None:
                    raise
                _unreadable(OSError(problem.errno, problem.strerror, str(member.source)))


def _add(archive: tarfile.TarFile, member: Member, tree: Beneath, mtime_s: int | None) -> None:
    """Add one member; a socket is left out, for there is nothing to send."""
    parent, name = tree.parent_of(member.path), member.path.name
    with ExitStack() as stack:
        content = None
        if stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
            content = stack.enter_context(os.fdopen(fd, "rb"))
        # The directory is that of the descriptor, whatever stands at its name now.
        info = archive.gettarinfo(f"/proc/self/fd/{parent}/{name}", member.name, fileobj=content)
        if info is None:
            return
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        if mtime_s is not None:
            info.mtime = mtime_s
            info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
        archive.addfile(info, content if info.isreg() else None)


def _unreadable(problem: OSError) -> NoReturn:
    raise HostError(f"cannot send {problem.filename} to the guest: {problem.strerror}") from problem
