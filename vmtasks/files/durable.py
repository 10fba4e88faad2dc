"""Names that last: what has its name after a power cut has its content, too.

rename(2) may come to the disk before the bytes that it gives a name to, and then a file is there that is empty or full
of zeros. So the content goes to the disk first, then the name is given, and then the directory goes, which has it.

Sources: fsync(2), rename(2).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EROFS}
"""What file systems answer where there is nothing to be done."""


def rename(beside: Path, final: Path, *, lasting: bool = True) -> None:
    """Give a file or directory its name, in place of what has it.

    :param lasting: whether it is of use after a power cut; if not, nothing waits for the disk.
    :raise OSError: it cannot be written or renamed.
    """
    if lasting:
        sync(beside)
    beside.replace(final)
    if lasting:
        _sync_one(final.absolute().parent)


def sync(path: Path) -> None:
    """Have a file on the disk, or a directory with all files in it; links are their directory's business.

    :raise OSError: the disk is full or broken, or there is no such file.
    """
    for directory, _, names in os.walk(path, topdown=False):  # nothing, where it is a file
        for name in names:
            _sync_one(Path(directory, name))
        _sync_one(Path(directory))
    if not path.is_dir():
        _sync_one(path)


def _sync_one(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not (path.is_file() or path.is_dir())):
        return  # opening a FIFO or a device does something
    flags = os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | os.O_RDONLY)
    except PermissionError:  # ours, with the mode that a guest chose: not even we may look into it
        return
    try:
        os.fsync(fd)
    except OSError as problem:
        if problem.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(fd)
