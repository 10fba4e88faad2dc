"""A .changes file: the list of what a Debian build made; see deb-changes(5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vmtasks.errors import TestFailed
from vmtasks.files.checksum import sha256_of

_SECTION = re.compile(r"^Checksums-Sha256:[ \t]*\n((?: .*\n?)+)", re.MULTILINE | re.IGNORECASE)
_LINE = re.compile(r" ([0-9a-f]{64}) ([0-9]{1,15}) ([A-Za-z0-9][A-Za-z0-9.+~:_%@=,-]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A file that a .changes file names."""

    name: str
    sha256: str
    size_bytes: int


def read(listing: str, text: str) -> tuple[Made, ...]:
    """Return the files that the text of the .changes file *listing* names, in its order.

    :raise TestFailed: it names none, or in a way that no such file has.
    """
    section = _SECTION.search(text)
    made = []
    for line in section[1].splitlines() if section else ():
        if not (match := _LINE.fullmatch(line)):
            raise TestFailed(f"cannot read {listing}: '{line.strip()[:80]}' is no checksum, size and name of a file")
        made.append(Made(sha256=match[1], size_bytes=int(match[2]), name=match[3]))
    if not made:
        raise TestFailed(f"cannot read {listing}: it names no files")
    return tuple(made)


def check(made: Made, directory: Path) -> Path:
    """Return the file in *directory*, which is what was named.

    :raise TestFailed: it is not there, or something else.
    """
    path = plain(directory / made.name)
    found = sha256_of(path)
    if (path.stat().st_size, found) != (made.size_bytes, made.sha256):
        raise TestFailed(
            f"{made.name} is not the file that its .changes names: the sha256 is {found} and not {made.sha256}",
            hint="something of the build went on to write when dpkg-buildpackage had ended",
        )
    return path


def plain(path: Path) -> Path:
    """Return the path of a file that the build made.

    :raise TestFailed: it is none: what a link leads to is a file of this host's.
    """
    if path.is_symlink() or not path.is_file():
        raise TestFailed(f"the build made no file {path.name}, and its .changes says that it did")
    return path
