"""Copies of sparse files, with their holes, and without moving bytes where the file system can."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PIECE_BYTES = 4 * 1024 * 1024
_STRETCH_BYTES = 256 * 1024 * 1024


def copy_extents(source: str, target: str, look: Callable[[], None] = lambda: None) -> None:
    """Copy what is in a sparse file to a new one, without its holes, and without its bytes where the disk can.

    :param look: called again and again; if it raises, or anything goes wrong, there is no *target*.
    :raise OSError: the disk is full, or *source* cannot be read.
    """
    old = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        new = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(new, os.fstat(old).st_size)
            for start, end in extents(old):
                _copy(old, new, start, end, look)
        except BaseException:
            os.unlink(target)  # noqa: PTH108 - no pathlib, as in the supervisor
            raise
        finally:
            os.close(new)
    finally:
        os.close(old)


def extents(fd: int) -> Iterator[tuple[int, int]]:
    """Yield where the data of a sparse file begin, and where the hole behind them does."""
    end = 0
    try:
        while True:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
            yield start, end
    except OSError as problem:
        if problem.errno != errno.ENXIO:  # that is nothing but a hole until the end
            raise


def _copy(source: int, target: int, start: int, end: int, look: Callable[[], None]) -> None:
    while start < end:
        look()
        try:
            done = os.copy_file_range(source, target, min(end - start, _STRETCH_BYTES), start, start)
        except OSError as problem:
            if problem.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            done = os.pwrite(target, os.pread(source, min(end - start, _PIECE_BYTES), start), start)
        if not done:
            raise OSError(errno.EIO, "it became shorter while it was copied")
        start += done
