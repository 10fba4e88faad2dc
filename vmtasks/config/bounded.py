"""One reader for the files that this host itself reads of a project, which may be anything."""

from __future__ import annotations

import os
from pathlib import Path

from vmtasks.errors import UsageError
from vmtasks.files.regular_file import open_regular

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
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > LIMIT_BYTES:
        raise UsageError(f"cannot read {path}: it has more than {LIMIT_BYTES >> 20} MiB")
    return data
