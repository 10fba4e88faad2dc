"""The end of a log file, without reading the rest."""

from __future__ import annotations

import os
from pathlib import Path

_READ_BYTES = 64 * 1024


def last_lines(path: Path, count: int = 10) -> tuple[str, ...]:
    """Return the last *count* lines of *path* that are not blank; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _READ_BYTES))
            return lines_of(file.read().decode(errors="replace"), count)
    except OSError:
        return ()


def lines_of(text: str, count: int = 10) -> tuple[str, ...]:
    """Return the last *count* lines of *text* that are not blank."""
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-count:]
