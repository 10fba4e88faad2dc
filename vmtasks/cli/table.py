"""A table for standard output: aligned columns, plain text, so that other programs can read it too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vmtasks.report.sanitize import one_line


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the lines of a table; the last column is as wide as it likes."""
    lines = [tuple(headings), *(tuple(map(one_line, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def age(seconds: float) -> str:
    """Say how long ago something was, in the largest unit that fits: ``3 d``, ``5 h``, ``12 min``, ``8 s``."""
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)} {unit}"
    return f"{int(seconds)} s"


def mebibytes(size_bytes: int) -> str:
    """Say how much room something takes."""
    return f"{size_bytes / 1024**2:.0f} MiB"
