"""Archives that no honest tar makes, for a guest to hand out in place of what it was asked for."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def _archive(path: Path) -> Iterator[tarfile.TarFile]:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        yield archive


def _file(archive: tarfile.TarFile, name: str, content: bytes = b"escaped\n", mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    archive.addfile(member, io.BytesIO(content))


def _other(
    archive: tarfile.TarFile, name: str, kind: bytes, target: str = "", device: tuple[int, int] = (0, 0)
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, target, 0o777
    member.devmajor, member.devminor = device
    archive.addfile(member)


def write_archive(name: str, path: Path, outside: Path) -> None:
    """Write the archive of that name; *outside* is a directory beside the one that files come to."""
    with _archive(path) as archive:
        _WRITERS[name](archive, outside)


def _absolute(archive: tarfile.TarFile, outside: Path) -> None:
    _file(archive, str(outside / "absolute"))


def _above(archive: tarfile.TarFile, outside: Path) -> None:
    _file(archive, f"./../{outside.name}/above")
    _file(archive, f"below/../../../{outside.name}/above")


def _link_then_file(archive: tarfile.TarFile, outside: Path) -> None:
    _other(archive, "./way", tarfile.SYMTYPE, str(outside))
    _file(archive, "./way/through-a-link")


def _link_twice(archive: tarfile.TarFile, outside: Path) -> None:
    _other(archive, "./a", tarfile.SYMTYPE, "..")
    _other(archive, "./b", tarfile.SYMTYPE, f"a/{outside.name}")
    _file(archive, "./b/through-two-links")


def _hard_link(archive: tarfile.TarFile, outside: Path) -> None:
    _other(archive, "./words", tarfile.LNKTYPE, str(outside / "precious"))
    _file(archive, "./words")


def _directory_becomes_link(archive: tarfile.TarFile, outside: Path) -> None:
    _other(archive, "./d", tarfile.DIRTYPE)
    _other(archive, "./d", tarfile.SYMTYPE, str(outside))
    _file(archive, "./d/swapped")


def _devices(archive: tarfile.TarFile, outside: Path) -> None:
    del outside
    _other(archive, "./disk", tarfile.BLKTYPE, device=(8, 0))
    _other(archive, "./memory", tarfile.CHRTYPE, device=(1, 1))
    _other(archive, "./pipe", tarfile.FIFOTYPE)


def _set_uid(archive: tarfile.TarFile, outside: Path) -> None:
    del outside
    _file(archive, "./root-shell", b"#!/bin/sh\n", 0o6755)


def _names(archive: tarfile.TarFile, outside: Path) -> None:
    del outside
    for name in ("\x1b]0;owned\x07", "line\nfeed", "\u202egnp.exe", "-rf", "a" * 250, "caf\udce9"):
        _file(archive, f"./{name}")


def _deep(archive: tarfile.TarFile, outside: Path) -> None:
    del outside
    _file(archive, "./" + "d/" * 4000 + "f")


def _many(archive: tarfile.TarFile, outside: Path) -> None:
    del outside
    for number in range(20_000):
        _file(archive, f"./{number}", b"")


def _large(archive: tarfile.TarFile, outside: Path) -> None:
    del outside
    member = tarfile.TarInfo("./large")
    member.size = 1 << 50  # it says so, and the rest is missing
    assert archive.fileobj
    archive.fileobj.write(member.tobuf(tarfile.GNU_FORMAT))


def _cut_short(archive: tarfile.TarFile, outside: Path) -> None:
    del outside
    member = tarfile.TarInfo("./cut-short")
    member.size = 1_000_000
    assert archive.fileobj
    archive.fileobj.write(member.tobuf(tarfile.GNU_FORMAT) + bytes(100_000))


def _no_archive(archive: tarfile.TarFile, outside: Path) -> None:
    del outside
    assert archive.fileobj
    archive.fileobj.write(bytes(range(256)) * 4096)


_WRITERS: dict[str, Callable[[tarfile.TarFile, Path], None]] = {
    "absolute names": _absolute,
    "names that lead out": _above,
    "a link, and a file through it": _link_then_file,
    "two links, and a file through them": _link_twice,
    "a hard link to a file of the host's": _hard_link,
    "a directory that becomes a link": _directory_becomes_link,
    "devices and pipes": _devices,
    "files that run as root": _set_uid,
    "names that rule a terminal": _names,
    "four thousand directories": _deep,
    "many small files": _many,
    "a size of 2 to the 50th": _large,
    "an archive that is cut short": _cut_short,
    "no archive at all": _no_archive,
}
ARCHIVES = tuple(_WRITERS)
"""Their names."""
