"""Open a file that may be anything by now: a directory, a FIFO whose other end never comes, a terminal."""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:  # this is read where each import is waited for
    from pathlib import Path


def open_regular(path: Path | str) -> int:
    """Return the descriptor of a regular file that is open for reading.

    :raise OSError: there is none, it cannot be read, or it is of another kind.
    """
    # Not to wait for the other end of a FIFO, and not to be given a terminal.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))
