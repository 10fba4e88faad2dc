"""One reader for the files that this host itself reads of a project, which may be anything."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vmtasks.errors import UsageError

LIMIT_BYTES = 4 * 1024 * 1024
"""More than any file of settings, makefile or changelog has."""


def read_file(path: Path, *, within: Path | None = None) -> bytes | None:
    """Return the content of a regular file; None if there is no such file.

    :param within: the directory that it must be in, wherever links lead; None: anywhere.
    :raise UsageError: it is no regular file, lies elsewhere, is larger than :data:`LIMIT_BYTES`, or cannot be read.
    """
    if within is not None and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(within)):
        raise UsageError(f"cannot read {path}: it is a link that leads out of {within}")
    try:
        # Not to wait for the other end of a FIFO.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(mode := os.fstat(fd).st_mode):
            reason = "Is a directory" if stat.S_ISDIR(mode) else "it is not a regular file"
            raise UsageError(f"cannot read {path}: {reason}")
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(fd)
    if len(data) > LIMIT_BYTES:
        raise UsageError(f"cannot read {path}: it has more than {LIMIT_BYTES >> 20} MiB")
    return data
