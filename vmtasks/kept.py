"""What the cache keeps: directories that are complete or not there, and the locks that say who uses them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vmtasks.errors import HostError


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A complete directory of the cache with a disk in it. Its files are read-only by agreement."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The disk, qcow2."""
        return self.directory / "disk.qcow2"

    @property
    def in_use(self) -> Path:
        """The lock file that machines hold."""
        return self.directory / "in-use"

    @property
    def size_bytes(self) -> int:
        """What it takes on disk."""
        return sum(path.stat().st_blocks * 512 for path in self.directory.iterdir())


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the exclusive flock(2) of *path* if nobody else holds one; yield whether we got it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Be the only one who holds the lock file *path*; yield whether somebody else had to be waited for.

    :raise HostError: the cache cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise HostError(
            f"cannot write to the cache {path.parent}: {problem.strerror}",
            hint="make it writable, or name another with XDG_CACHE_HOME or VMTASKS_CACHE",
        ) from problem
    try:
        waited = False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield waited
    finally:
        os.close(fd)
