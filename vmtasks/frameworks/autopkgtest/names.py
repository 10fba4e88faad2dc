"""The names of tests, which may have any letters, as those of files and machines."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import count
from pathlib import Path


def plain_name(name: str) -> str:
    """Return a test's name as one that a file and a machine of the host's may have."""
    return re.sub(r"[^A-Za-z0-9.+~_-]", "-", name)[:100].lstrip(".-") or "test"


def fresh_directory(path: Path) -> Path:
    """Return *path*, or one beside it that is not there yet: names that differ may be one in plain letters."""
    path.parent.mkdir(exist_ok=True)
    for number in count(1):
        one = path if number == 1 else path.with_name(f"{path.name}-{number}")
        with suppress(FileExistsError):
            one.mkdir()
            return one
    raise AssertionError("numbers do not end")
