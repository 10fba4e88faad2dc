"""Names of files and directories, made of names that may have any letters."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import count
from pathlib import Path

_UNSAFE = re.compile(r"[^\w.@+-]+", re.ASCII)


def file_name(text: str) -> str:
    """Return a text as the name of a file: no other directory's, no hidden one, and no option of a command."""
    return _UNSAFE.sub("-", text).strip("-.") or "_"


def fresh_directory(path: Path) -> Path:
    """Make the directory *path*, or one beside it that is not there yet, with a number; return which.

    Names that differ may be one as files. The directory above is made as well.

    :raise OSError: it cannot be made.
    """
    path.parent.mkdir(exist_ok=True)
    for number in count(1):
        one = path if number == 1 else path.with_name(f"{path.name}-{number}")
        with suppress(FileExistsError):
            one.mkdir()
            return one
    raise AssertionError("numbers do not end")
