"""debian/changelog: the source package that its first entry speaks of, and the entry's date.

What dpkg takes, with or without a warning, is taken here. Source: deb-changelog(5), dpkg-parsechangelog(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from vmtasks.errors import UsageError
from vmtasks.project.text import text_of

CHANGELOG = "debian/changelog"

_WORD = r"[A-Za-z0-9+.-]+"
_HEADING = re.compile(rf"(\w[A-Za-z0-9+.-]*) \(([^() \t]+)\)(?:\s+{_WORD})+;.*", re.ASCII)
_VERSION = re.compile(r"(?:[0-9]+:)?[0-9][A-Za-z0-9.+~:-]*(?<!-)")
_TRAILER = re.compile(r" -- [^<]*+<.*>(.*)")
_DATE_LENGTH = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePackage:
    """The Debian source package that debian/changelog speaks of."""

    name: str
    version: str

    @classmethod
    def of(cls, root: Path) -> SourcePackage:
        """Read the first heading of the debian/changelog below *root*.

        :raise UsageError: there is no such file, or no heading at its beginning.
        """
        first = ""
        for line in _lines(root):
            if match := _HEADING.fullmatch(line):
                if not _VERSION.fullmatch(match[2]):
                    raise UsageError(f"cannot read {root / CHANGELOG}: {match[2]!r} is no version that Debian knows")
                return cls(name=match[1], version=match[2])
            first = first or line
            if line[:1].isspace():
                break  # dpkg passes over comments and the like before a heading, but takes this for a change
        raise UsageError(
            f"cannot read {root / CHANGELOG}: "
            f"its first line must be like 'name (version) dist; urgency=medium', not '{first[:80]}'"
        )

    @property
    def upstream_version(self) -> str:
        """The version without Debian's epoch and revision."""
        return self.file_version.rsplit("-", 1)[0]

    @property
    def file_version(self) -> str:
        """The version as names of files have it: without the epoch."""
        return self.version.split(":", 1)[-1]


def date_of(root: Path) -> int | None:
    """Return the date of the first entry in seconds since the epoch; None where it has none that can be read.

    :raise UsageError: there is no debian/changelog.
    """
    from email.utils import parsedate_to_datetime

    lines = _lines(root)
    for line in lines:
        if _HEADING.fullmatch(line):
            break
    for line in lines:
        if _HEADING.fullmatch(line):
            break
        if match := _TRAILER.fullmatch(line):
            try:
                date = parsedate_to_datetime(match[1].strip()[:_DATE_LENGTH])
                return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
            except (ValueError, OverflowError):
                return None
    return None


def _lines(root: Path) -> Iterator[str]:
    text = text_of(root, CHANGELOG)
    if text is None:
        raise UsageError(f"cannot tell which source package {root} is: it has no {CHANGELOG}")
    return (line.rstrip() for line in text.split("\n"))
