"""A short name for a directory: with that of a socket in it, a path may have 107 bytes (unix(7))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def short_name(directory: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a name of the directory of some twenty letters, good in this process and within the block.

    :raise OSError: there is no such directory.
    """
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
