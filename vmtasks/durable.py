"""Names that last: what has its name after a power cut has its content, too.

rename(2) may come to the disk before the bytes that it gives a name to, and then a file is there that is empty or full
of zeros. So the content goes to the disk first, then the name is given, and then the directory goes, which has it.

Standard library only: the supervisor needs it as well. Sources: fsync(2), rename(2).
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    PathLike = str | os.PathLike[str]

_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EROFS}
"""What file systems answer where there is nothing to be done."""


def rename(beside: PathLike, final: PathLike, *, lasting: bool = True) -> None:
    """Give a file or directory its name, in place of what has it.

    :param lasting: whether it is of use after a power cut; if not, nothing waits for the disk.
    :raise OSError: it cannot be written or renamed; *final* is what it was.
    """
    if lasting:
        sync(beside)
    os.replace(beside, final)  # noqa: PTH105 - no pathlib, as in the supervisor
    if lasting:
        _sync_one(os.path.dirname(os.path.abspath(final)))  # noqa: PTH100, PTH120 - likewise


def sync(path: PathLike) -> None:
    """Have a file on the disk, or a directory with all that is in it; links are their directory's business.

    :raise OSError: the disk is full or broken, or there is no such file.
    """
    if os.path.islink(path):  # noqa: PTH114 - no pathlib
        return
    for directory, _, names in os.walk(path, topdown=False):  # of nothing where it is a file
        for name in names:
            file = os.path.join(directory, name)  # noqa: PTH118 - likewise
            if os.path.isfile(file) and not os.path.islink(file):  # noqa: PTH113, PTH114 - likewise
                _sync_one(file)
        if directory != os.fspath(path):
            _sync_one(directory)
    _sync_one(path)


def _sync_one(path: PathLike) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as problem:
        if problem.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(fd)
