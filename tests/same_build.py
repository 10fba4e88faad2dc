"""Whether two builds made the same: all but the date of the build, which .buildinfo tells, and what follows from it."""

from __future__ import annotations

import re
from pathlib import Path

_DATE = re.compile(rb"^Build-Date: .*\n", re.MULTILINE)
_OF_BUILDINFO = re.compile(rb"^ [0-9a-f]{32,} [0-9]+ .*\.buildinfo\n", re.MULTILINE)


def undated(path: Path) -> bytes:
    """Return what two builds of the same source have in common in this product of theirs."""
    data = path.read_bytes()
    match path.suffix:
        case ".buildinfo":
            data, dates = _DATE.subn(b"", data)
            assert dates == 1, f"{path} does not say when"
        case ".changes":
            data, sums = _OF_BUILDINFO.subn(b"", data)
            assert sums == 3, f"{path} names no .buildinfo by its MD5, SHA-1 and SHA-256"
    return data
