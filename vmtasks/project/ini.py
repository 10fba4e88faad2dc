"""The .ini files of a project, which may be anything: as configparser reads them, and no longer than that may take."""

from __future__ import annotations

import configparser
import re

LIMIT_LENGTH = 256 * 1024
LIMIT_LINES = 5000
"""More than any has. configparser copies all of its complaints for each further line that it complains of."""
_BLANKS = re.compile(r"([^\S\n]{80})[^\S\n]++")
"""It looks for the end of a key after each blank; so many are as good as more."""


def read_ini(text: str) -> configparser.RawConfigParser:
    """Return what the text of an .ini file holds; a later entry of the same name goes before an earlier one.

    :raise configparser.Error: it is none, or longer than such files are.
    """
    if len(text) > LIMIT_LENGTH or text.count("\n") > LIMIT_LINES:
        raise configparser.Error(f"it has more than {LIMIT_LINES} lines, or {LIMIT_LENGTH >> 10} KiB")
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(_BLANKS.sub(r"\1", text))
    return parser
