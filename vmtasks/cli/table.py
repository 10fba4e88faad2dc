"""Answers on standard output: a table for people, aligned and plain, or JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

AS_JSON = "print JSON, for programs: seconds and bytes as numbers, null for what is not known"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer."""

    key: str
    """Its name in JSON, with the unit of numbers."""
    heading: str
    show: Callable[[Any], str] = str
    """How people see its values; a None is an empty cell."""


def tell(columns: Sequence[Column], records: Iterable[Mapping[str, Any]], *, as_json: bool) -> str:
    """Return the lines of an answer: a table, or a list of objects with all columns."""
    if as_json:
        return json.dumps([{column.key: record.get(column.key) for column in columns} for record in records], indent=1)
    rows = [
        ["" if (value := record.get(column.key)) is None else column.show(value) for column in columns]
        for record in records
    ]
    return table([column.heading for column in columns], rows)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the lines of a table; the last column is as wide as it likes."""
    from vmtasks.report.sanitize import one_line  # help does not pay for what shows a run

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
