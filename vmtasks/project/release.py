"""Releases: what a dist command makes, and which of several tarballs is the one."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ENDINGS = ("tar.gz", "tgz", "tar.xz", "txz", "tar.bz2", "tbz2", "tar.zst", "tar.lz", "tar.lzma", "tar")
_TARBALL = re.compile(rf"(.+)\.({'|'.join(map(re.escape, _ENDINGS))})", re.DOTALL)

PATTERNS = tuple(f"{place}*.{ending}" for place in ("", "dist/") for ending in (*_ENDINGS, "zip"))
"""Where a dist command puts what it makes, by default."""


def is_tarball(name: str) -> bool:
    """Tell by its name whether a file is a tarball."""
    return stem(name) != ""


def stem(name: str) -> str:
    """Return a tarball's name without its ending; nothing if it is no tarball."""
    match = _TARBALL.fullmatch(name.rpartition("/")[2])
    return match[1] if match else ""


def choose(tops: Mapping[str, str], name: str, version: str) -> str | None:
    """Return the tarball that is the release of *name* *version*; None where that cannot be told.

    It is the only one; or the one that is called so; or the one whose directory is.

    :param tops: the name of each tarball, and of the directory in it.
    """
    if len(tops) == 1:
        return next(iter(tops))
    called = _folded(f"{name}-{version}" if version else name)
    for names in ({one: stem(one) for one in tops}, tops):
        fitting = [one for one, words in names.items() if _folded(words) == called]
        # Packed in two ways, it is one release.
        if fitting and len({stem(one) for one in fitting}) == 1:
            return fitting[0]
    return None


def _folded(words: str) -> str:
    """Return what a Python sdist, a Debian package and a directory of one name have in common."""
    return re.sub(r"[-_. ]+", "-", words).lower()
