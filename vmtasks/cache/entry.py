"""What the cache keeps: directories that are complete or not there, and the locks that show which are in use.

A directory is made under a name like ``.NAME.part``, and has its own once it is complete; on its way out it has such a
name again. What has one when the process that works on it ends, is removed. A process that makes one or stands on one
holds a shared flock(2) on the file ``in-use`` in it, which the kernel takes away together with its holder. Numbers of
processes would tell less: they come again, and containers that share a cache have their own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from vmtasks import events
from vmtasks.config.paths import cache_dir
from vmtasks.errors import HostError
from vmtasks.files import durable
from vmtasks.host.flock import discard, flock, try_lock
from vmtasks.host.local import LOCAL_HOST, Host
from vmtasks.process.cleanup import remove_at_exit

_IN_USE = "in-use"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """A complete directory of the cache with a disk in it. Its files are read-only by agreement."""

    directory: Path
    place: Host = field(default=LOCAL_HOST, compare=False, repr=False)
    """The host that it is on."""

    @property
    def disk(self) -> Path:
        """The disk, qcow2."""
        return self.directory / "disk.qcow2"

    @property
    def in_use(self) -> Path:
        """The lock file that machines hold."""
        return self.directory / _IN_USE

    @property
    def size_bytes(self) -> int:
        """What it takes on disk."""
        total_bytes = 0
        with suppress(FileNotFoundError):  # another process removes it this very moment
            for path in self.directory.iterdir():
                total_bytes += path.stat().st_blocks * 512
        return total_bytes

    @property
    def used_s(self) -> float:
        """When it last served, in seconds since the epoch."""
        with suppress(FileNotFoundError):
            return self.in_use.stat().st_mtime
        return 0.0

    def touch(self) -> None:
        """Remember that it serves."""
        if not self.place.is_local:
            self.place.call(type(self).touch, self)
            return
        with suppress(OSError):  # pruned this very moment: the process that starts from it will notice
            os.utime(self.in_use)

    def drop(self) -> bool:
        """Remove it unless a process uses it, and return whether it is gone."""
        if not self.place.is_local:
            return self.place.call(type(self).drop, self)
        with suppress(OSError), try_lock(self.in_use) as free:  # a cache that cannot be written keeps what it has
            if free:
                aside = self.directory.with_name(f".{self.directory.name}.part")
                remove_at_exit(aside)
                with suppress(FileNotFoundError):  # another process was quicker
                    durable.rename(self.directory, aside, lasting=False)
                    shutil.rmtree(aside, ignore_errors=True)
        return not self.directory.exists()


@contextmanager
def incomplete(path: Path) -> Iterator[None]:
    """Make the directory *path*, named like ``.NAME.part``, and hold it until the block ends, under any name.

    The block gives it its own name once it is complete; otherwise it is gone at the end, even if that is this
    process's own.
    """
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    remove_at_exit(path)
    with _doorway(path.parent):
        path.mkdir(mode=0o700)
        fd = flock(path / _IN_USE, fcntl.LOCK_SH)
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


def sweep(directory: Path) -> tuple[Path, ...]:
    """Remove the parts in *directory* that no process works on any more, and return which they were."""
    swept = []
    if directory.is_dir():
        with _doorway(directory):
            for path in sorted(directory.glob(".*.part")):
                with try_lock(path / _IN_USE) as free:
                    if free:
                        shutil.rmtree(path, ignore_errors=True)
                        swept.append(path)
    return tuple(swept)


def sweep_locks() -> None:
    """Remove the lock files of the cache that no process has locked: the next user of one makes it."""
    for name in ("images", "snapshots", "frozen", "kernels", "installables", "runvm"):
        for path in (cache_dir() / name).glob("[!.]*.lock"):
            with suppress(FileNotFoundError):  # another process sweeps as well
                discard(path)


@contextmanager
def _doorway(directory: Path) -> Iterator[None]:
    """Have to oneself the moment in which a part is there and no process holds it yet."""
    with writing(directory):
        fd = flock(directory / ".lock", fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Have an error of the block told as one of a cache that cannot be written.

    :raise HostError: instead of an OSError.
    """
    try:
        yield
    except OSError as problem:
        raise HostError(
            f"cannot write to the cache {directory}: {problem.strerror}",
            hint="make it writable, or name another with XDG_CACHE_HOME or VMTASKS_CACHE",
        ) from problem


@contextmanager
def exclusive(path: Path, *, other: str) -> Iterator[bool]:
    """Be the only process that holds the lock file *path*; yield whether another had to be waited for.

    :param other: what the note names as waited for.
    :raise HostError: the cache cannot be written.
    """
    waited = False
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fd = flock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            events.emit(events.Note(text=f"waiting for {other}"))
            fd = flock(path, fcntl.LOCK_EX)
    try:
        yield waited
    finally:
        os.close(fd)
