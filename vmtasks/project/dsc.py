"""A .dsc: the files that a Debian source package consists of, and whether those on the host are the ones it names.

Source: dsc(5), deb822(5).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vmtasks.errors import UsageError

_LISTS = {"files": "md5", "checksums-sha1": "sha1", "checksums-sha256": "sha256"}
"""The fields that name files, and the algorithm of the digests in each. Old ones have ``Files`` alone."""
_NEEDED = ("format", "source", "version", "files")
_ARMOR = "-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE, _END = "-----BEGIN PGP SIGNATURE-----", "-----END PGP SIGNATURE-----"
_ENTRY = re.compile(r"([0-9a-f]{32,128}) ([0-9]{1,18}) (\S+)")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.~_-]*")
_LIMIT_BYTES = 1024 * 1024
_READ_BYTES = 1024 * 1024
_HINT = "`apt-get source --download-only PACKAGE` fetches a source package as a whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file that a .dsc names."""

    name: str
    size_bytes: int
    digests: Mapping[str, str]
    """Its digest by each algorithm that the .dsc has one of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dsc:
    """A source package's description."""

    path: Path
    source: str
    version: str
    control: str
    """Its fields, without a signature."""
    parts: tuple[Part, ...]

    @classmethod
    def read(cls, path: Path) -> Dsc:
        """Read a .dsc.

        :raise UsageError: it cannot be read, or is not whole.
        """
        try:
            with path.open("rb") as file:
                data = file.read(_LIMIT_BYTES + 1)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        if len(data) > _LIMIT_BYTES:
            raise _bad(path, f"it is more than {_LIMIT_BYTES >> 20} MiB")
        control = _without_signature(path, data.decode(errors="replace"))
        fields = _fields(path, control)
        if missing := [name for name in _NEEDED if not fields.get(name)]:
            raise _bad(path, f"it has no field '{missing[0].capitalize()}': it is cut short, or no source package's")
        return cls(
            path=path,
            source=fields["source"].strip(),
            version=fields["version"].strip(),
            control=control,
            parts=tuple(_parts(path, fields)),
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the source package: the .dsc itself, and those beside it that it names."""
        return (self.path, *(self.path.with_name(part.name) for part in self.parts))

    @property
    def tree(self) -> str:
        """The name of the directory that ``dpkg-source --extract`` makes of it."""
        return f"{self.source}-{self.version.split(':', 1)[-1].rsplit('-', 1)[0]}"

    def check(self) -> None:
        """See that the files are those that it names.

        :raise UsageError: one is missing, or is another.
        """
        for part in self.parts:
            path = self.path.with_name(part.name)
            if not path.is_file():
                raise _bad(self.path, f"{part.name} is missing beside it")
            try:
                size_bytes, digests = _measured(path, part.digests)
            except OSError as error:
                raise UsageError(f"cannot read {path}: {error.strerror}") from error
            if size_bytes != part.size_bytes:
                raise _bad(
                    self.path,
                    f"{part.name} is not the file that it names: "
                    f"it has {size_bytes} bytes, and should have {part.size_bytes}",
                )
            if other := [algorithm for algorithm in part.digests if digests[algorithm] != part.digests[algorithm]]:
                raise _bad(self.path, f"{part.name} is not the file that it names: its {other[-1]} is another")


def _bad(path: Path, reason: str) -> UsageError:
    return UsageError(f"cannot build {path}: {reason}", hint=_HINT)


def _without_signature(path: Path, text: str) -> str:
    """Return what was signed, or all of what was not.

    :raise UsageError: the signature has no end.
    """
    lines = [line.rstrip() for line in text.split("\n")]
    if _ARMOR in lines:
        if _SIGNATURE not in lines or _END not in lines:
            raise _bad(path, "it is cut short: its signature has no end")
        begin, end = lines.index(_ARMOR), lines.index(_SIGNATURE)
        if "" not in lines[begin:end]:
            raise _bad(path, "its signature has no empty line in front of what was signed")
        first = lines.index("", begin) + 1
        # RFC 4880, 7.1: what begins with a dash has another one before it.
        lines = [line.removeprefix("- ") for line in lines[first:end]]
    return "".join(f"{line}\n" for line in lines)


def _fields(path: Path, control: str) -> dict[str, str]:
    """Return the fields of the first paragraph, by their names in small letters.

    :raise UsageError: a line belongs to none, or there are two of one name.
    """
    fields: dict[str, str] = {}
    name = ""
    for line in control.strip("\n").split("\n"):
        if not line:
            break
        if line.startswith("#"):
            continue
        if line[0] in " \t" and name:
            fields[name] += f"\n{line}"
            continue
        name, colon, value = line.partition(":")
        name = name.rstrip().lower()  # dpkg takes blanks in front of the colon
        if not colon or not name.strip() or name in fields:
            raise _bad(path, f"its line {line[:80]!r} is no field: it is cut short, or no source package's")
        fields[name] = value
    return fields


def _parts(path: Path, fields: Mapping[str, str]) -> Iterator[Part]:
    """Yield the files that a .dsc names, with all that it states of each.

    :raise UsageError: what it states cannot be true.
    """
    lists = {algorithm: dict(_entries(path, fields[field])) for field, algorithm in _LISTS.items() if field in fields}
    names = list(lists["md5"])
    if not names:
        raise _bad(path, "it names no files")
    for algorithm, entries in lists.items():
        if entries.keys() != lists["md5"].keys():
            raise _bad(path, f"its lists name different files: it is cut short ({algorithm})")
    for name in names:
        stated = {algorithm: entries[name] for algorithm, entries in lists.items()}
        sizes = {size_bytes for _, size_bytes in stated.values()}
        if len(sizes) != 1:
            raise _bad(path, f"it says two sizes of {name}")
        yield Part(
            name=name, size_bytes=sizes.pop(), digests={algorithm: digest for algorithm, (digest, _) in stated.items()}
        )


def _entries(path: Path, value: str) -> Iterator[tuple[str, tuple[str, int]]]:
    for line in value.strip().split("\n"):
        if not line.strip():
            continue
        match = _ENTRY.fullmatch(" ".join(line.split()))
        if match is None:
            raise _bad(path, f"its line {line.strip()[:80]!r} names no file: it is cut short")
        if not _FILE.fullmatch(match[3]):
            raise _bad(path, f"it names {match[3][:80]!r}, which no file beside it can be called")
        yield match[3], (match[1], int(match[2]))


def _measured(path: Path, wanted: Mapping[str, str]) -> tuple[int, dict[str, str]]:
    """Return a file's size in bytes, and its digest by each algorithm."""
    digests = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in wanted}
    size_bytes = 0
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            size_bytes += len(piece)
            for digest in digests.values():
                digest.update(piece)
    return size_bytes, {algorithm: digest.hexdigest() for algorithm, digest in digests.items()}
