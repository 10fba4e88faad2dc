"""Where a kernel is to come from, as ``--kernel`` names it.

What a name means does not depend on what lies about: a path has a slash or one of the endings, an address has ``://``,
and anything else is the name of a Debian package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vmtasks.config.paths import expanded
from vmtasks.errors import UsageError

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[!-~]+")
_PATH = re.compile(r".*/.*|\.\.?|.*\.(?:deb|rpm|tar(?:\.\w+)?|t[gx]z|tbz2?|tzst)", re.DOTALL)
_FRAGMENT = re.compile(r"#sha256=[0-9a-f]*")
_SUM = re.compile(r"sha256=([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFile:
    """A file of this host, or a directory."""

    path: Path

    def __str__(self) -> str:
        """Return what a message calls it."""
        return str(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelUrl:
    """A file elsewhere, and what must come of it."""

    url: str
    sha256: str

    def __str__(self) -> str:
        """Return what a message calls it."""
        return self.url


Source = KernelFile | KernelUrl


def sources_of(kernel: str) -> tuple[Source, ...]:
    """Return the files that make a kernel, which need not be there; none if it is the name of a Debian package.

    :param kernel: one name, or several with commas.
    :raise UsageError: it is nothing that a kernel could come from.
    """
    names = kernel.split(",")
    if len(names) == 1 and not (is_path(kernel) or is_address(kernel)):
        if _PACKAGE.fullmatch(kernel):
            return ()
        raise UsageError(
            f"{kernel!r} is neither a file or directory, nor an address, nor the name of a Debian package",
            hint="a path has a slash in it: ./NAME",
        )
    return tuple(_source(name) for name in names)


def is_path(name: str) -> bool:
    """Whether a name is one of a file or directory of this host."""
    return "://" not in name and bool(_PATH.fullmatch(name))


def is_address(name: str) -> bool:
    """Whether a name is one of a file elsewhere."""
    return bool(_ADDRESS.fullmatch(name))


def url_and_sum(address: str, *, what: str = "") -> tuple[str, str]:
    """Return an address without the sum behind it (``URL#sha256=SUM``), and that sum: what must come of it.

    :param what: what messages call the thing, in front of its address.
    :raise UsageError: it has none.
    """
    url, _, fragment = address.partition("#")
    if not (found := _SUM.fullmatch(fragment)):
        raise UsageError(
            f"cannot fetch {what}{url}: nothing says what must come",
            hint=f"write its sum behind it: {url}#sha256=… (64 hexadecimal digits in lower case)",
        )
    return url, found[1]


def without_sums(kernel: str) -> str:
    """Return what a message calls a kernel: as it was asked for, without the sums behind addresses."""
    return _FRAGMENT.sub("", kernel)


def _source(name: str) -> Source:
    if is_path(name):
        return KernelFile(path=expanded(name))
    if not is_address(name):
        raise UsageError(
            f"cannot take a kernel from {name!r}: of several names with commas, each is a file or an address",
            hint="a path has a slash in it: ./NAME",
        )
    url, sha256 = url_and_sum(name, what="the kernel ")
    return KernelUrl(url=url, sha256=sha256)
