"""The sum of a file's content: what tells it from any other."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from vmtasks.files.regular_file import open_regular


def sha256_of(path: Path) -> str:
    """Return the sha256 of a regular file, as 64 hexadecimal digits.

    :raise OSError: there is none, or it cannot be read.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
