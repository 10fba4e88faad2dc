"""Locks between processes: flock(2), which the kernel drops when its holder ends.

Standard library only: the supervisor takes them as well.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def flock(path: str | Path, how: int) -> int:
    """Take the lock of *path*; return the descriptor, which has it until it is closed or this process ends.

    :param how: ``LOCK_SH`` or ``LOCK_EX``, and ``LOCK_NB`` not to wait.
    :raise BlockingIOError: another process has it.
    :raise FileNotFoundError: the directory is gone.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how)
            if _has_name(fd, path):
                return fd
        except BlockingIOError as problem:
            os.close(fd)
            raise BlockingIOError(problem.errno, "somebody else has it locked", os.fspath(path)) from problem
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _has_name(fd: int, path: str | Path) -> bool:
    """Tell whether *path* is the file that was locked: who had it before may have removed it, see :func:`discard`."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))  # noqa: PTH116 - no pathlib, as in the supervisor
    except FileNotFoundError:
        return False


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the exclusive flock(2) of *path* if it can be had without waiting; yield whether we got it."""
    try:
        fd = flock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError, NotADirectoryError):
        yield False
        return
    try:
        yield True
    finally:
        os.close(fd)


def discard(path: Path) -> bool:
    """Remove a lock file that no process has locked, and tell whether it is gone.

    A process that has opened it meanwhile finds out once the lock is had, and opens it anew. One of an earlier version
    does not, and works beside the next one to come: twice the work, in directories of their own.
    """
    with try_lock(path) as free:
        if free:
            path.unlink()
    return not path.exists()
