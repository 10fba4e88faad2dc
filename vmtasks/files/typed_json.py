"""JSON that is read back from a file, which by now may hold anything: other types, half of it, zeros, no end of lists.

A shape says what a value must be::

    str, int, bool      a value of that type; an int is one of 64 bits
    NUMBER, SECONDS     a number, also infinite; a point in time that a calendar shows
    None                null
    {"kvm", "tcg"}      one of these texts
    (str, None)         one of these
    [str]               a list of these
    {"a": str, "b?": int}    an object with the key a, and if it has b, with such a b; other keys may be anything
    {"*": int}          an object with any keys, and such values
"""

from __future__ import annotations

import json
import math
import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # this is read where each import is waited for
    from pathlib import Path
    from typing import Any

    Shape = Any

NUMBER = "a number"
SECONDS = "a point in time"

LIMIT_BYTES = 64 * 1024 * 1024
_INT_64 = 2**63
_YEAR_9999_S = 253_370_764_800


def read(path: Path, shape: Shape) -> Any:  # noqa: ANN401 - what the shape says
    """Return what a file holds; None if there is no such file, or not of that shape in it."""
    from vmtasks.files.regular_file import open_regular  # a supervisor parses, and opens none

    try:
        fd = open_regular(path)
    except (OSError, ValueError):
        return None
    try:
        return read_open(fd, shape)
    finally:
        os.close(fd)


def read_open(fd: int, shape: Shape) -> Any:  # noqa: ANN401 - what the shape says
    """Return what an open regular file holds, from where it is; None as with :func:`read`."""
    try:
        with os.fdopen(fd, "rb", closefd=False) as file:
            return parse(file.read(LIMIT_BYTES), shape)
    except OSError:
        return None


def parse(text: str | bytes, shape: Shape) -> Any:  # noqa: ANN401 - what the shape says
    """Return what a text holds; None if it is not JSON, or not of that shape."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if fits(value, shape) else None


def fits(value: object, shape: Shape) -> bool:
    """Tell whether a value is what a shape says."""
    match shape:
        case tuple():
            it_does = any(fits(value, one) for one in shape)
        case set():
            it_does = isinstance(value, str) and value in shape
        case [element]:
            it_does = isinstance(value, list) and all(fits(one, element) for one in value)
        case {"*": element}:
            it_does = isinstance(value, dict) and all(fits(one, element) for one in value.values())
        case dict():
            it_does = isinstance(value, dict) and all(_has(value, key, one) for key, one in shape.items())
        case None:
            it_does = value is None
        case _:
            it_does = _is_plain(value, shape)
    return it_does


def _has(value: dict[str, object], key: str, shape: Shape) -> bool:
    name = key.removesuffix("?")
    return fits(value[name], shape) if name in value else name != key


def _is_plain(value: object, shape: Shape) -> bool:
    if shape is str:
        return isinstance(value, str) and _is_text(value)
    if shape is bool:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(value, int) and not -_INT_64 <= value < _INT_64:
        return False
    if shape is int:
        return isinstance(value, int)
    return 0 <= value < _YEAR_9999_S if shape == SECONDS else not math.isnan(value)


def _is_text(text: str) -> bool:
    """Tell whether a text can be written: JSON's escapes spell halves of characters, too."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True
