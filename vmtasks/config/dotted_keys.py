"""How deep the keys of a TOML text go, told before it is parsed: to tomllib, each part of a key costs all those before.

A text of a few kibibytes would else take minutes, and one of a mebibyte hours.
"""

from __future__ import annotations

import re

DEEPEST = 32
"""More parts than the key of any settings has."""
# A string without an end goes as far as TOML lets it go, and is tomllib's to complain of.
_NO_KEY = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+(?:"{3,5}+|\Z)'
    r"|'''(?:[^']++|'(?!''))*+(?:'{3,5}+|\Z)"
    r'|"(?:[^"\\\n]++|\\[^\n])*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+",
    re.DOTALL,
)
_BETWEEN = re.compile(r"[,=\[\]{}\n]")
"""What ends a key, and what begins one."""


def are_too_deep(text: str) -> bool:
    """Whether a key of a TOML text has more than :data:`DEEPEST` parts: a pure function."""
    return any(part.count(".") >= DEEPEST for part in _BETWEEN.split(_NO_KEY.sub("", text)))
