"""What a guest's program has answered, taken apart: tests may have put another program in its place.

An answer that is none is the project's failure, and never ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vmtasks.errors import TestFailed

_SHOWN = 80
_HINT = "look for a package, a maintainer script or a test that replaces that program"
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")


def rows_of(answer: str, columns: int, *, of: str, separator: str = " ") -> list[list[str]]:
    """Return the columns of each line.

    :param of: the program that has answered, for the message.
    :raise TestFailed: a line has another number of them.
    """
    return [columns_of(line, columns, of=of, separator=separator) for line in answer.splitlines()]


def columns_of(line: str, columns: int, *, of: str, separator: str = " ") -> list[str]:
    """Return the columns of a line.

    :raise TestFailed: it has another number of them.
    """
    found = line.split(separator)
    if len(found) != columns:
        raise TestFailed(
            f"cannot read what {of} has answered: {line[:_SHOWN]!r} has {len(found)} columns, and not {columns}",
            hint=_HINT,
        )
    return found


def at_least(parts: Sequence[str], number: int, *, of: str) -> list[str]:
    """Return the words or lines of an answer.

    :raise TestFailed: there are fewer.
    """
    if len(parts) < number:
        raise TestFailed(
            f"cannot read what {of} has answered: {' '.join(parts)[:_SHOWN]!r} is too little",
            hint=_HINT,
        )
    return list(parts)


def number_of(text: str, *, of: str) -> float:
    """Return the number that an answer is, 0 or more.

    :raise TestFailed: it is none.
    """
    if not _NUMBER.fullmatch(text.strip()):
        raise TestFailed(
            f"cannot read what {of} has answered: {text[:_SHOWN]!r} is no number",
            hint=_HINT,
        )
    return float(text)
