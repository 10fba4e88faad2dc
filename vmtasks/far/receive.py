"""Takes in a baked image from another host; what has come of it stays when the link breaks, and need not come again.

Standard input: a line that names the files and their sizes, then, once we have said how much of each we have, the rest
of each, and a line with their sha256. Only a complete image gets its place in the cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from vmtasks import kept
from vmtasks.errors import HostError
from vmtasks.far import SILENCE_S
from vmtasks.image.cache import BakedImage, all_baked, images_dir, read_baked

_SERIAL = re.compile(r"[a-z0-9][a-z0-9.+-]*-[0-9a-f]{16}-[0-9a-f]+")
_PIECE_BYTES = 1024 * 1024
_UNUSED_S = 14 * 86400
"""After how long an older image of the same name goes."""


def received(serial: str) -> BakedImage | None:
    """Return an image that has come whole, and remember that it serves; None where it is not there."""
    directory = images_dir() / serial
    try:
        image = read_baked(directory)
        (directory / "in-use").touch()
    except (HostError, FileNotFoundError):
        return None
    return image


def main() -> None:
    """Take in the image whose serial the command line names, and say how it went."""
    serial = sys.argv[1]
    try:
        if not _SERIAL.fullmatch(serial):
            raise HostError(f"cannot take in {serial}: that is no image")
        _take_in(serial)
    except HostError as problem:
        _tell("unfit", error=problem.sentence)
    except OSError as problem:
        _tell("unfit", error=f"{images_dir()}: {problem.strerror}")
    else:
        _tell("complete")


def _take_in(serial: str) -> None:
    incoming = images_dir() / f".{serial}.incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    try:
        lock = kept.hold(incoming / "in-use", fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _tell("waiting")
        lock = kept.hold(incoming / "in-use", fcntl.LOCK_EX)
    try:
        if received(serial):  # somebody else has sent it meanwhile
            return
        _sweep(serial)
        sizes: dict[str, int] = json.loads(_line())
        have = {name: min(_size(incoming / name), sizes[name]) for name in sizes}
        missing_bytes = sum(sizes.values()) - sum(have.values())
        free_bytes = shutil.disk_usage(incoming).free
        if missing_bytes > free_bytes:
            left = f"{free_bytes >> 20} MiB left"
            raise HostError(f"its cache has {left}, and the image needs {missing_bytes >> 20} MiB more")
        _tell("at", have=have)
        for name, size in sizes.items():
            with (incoming / Path(name).name).open("ab") as file:
                file.truncate(have[name])
                for piece in _pieces(size - have[name]):
                    file.write(piece)
        if {name: _sha256(incoming / name) for name in sizes} != json.loads(_line()):
            shutil.rmtree(incoming)
            raise HostError("what came is not what was sent; it was thrown away")
        incoming.rename(images_dir() / serial)
    finally:
        os.close(lock)


def _sweep(serial: str) -> None:
    """Remove what else has come of this name and is of no use any more."""
    name = serial.rsplit("-", 2)[0]
    for path in images_dir().glob(f".{name}-*.incoming"):
        if path.name != f".{serial}.incoming":
            with kept.locked(path / "in-use") as free:
                if free:
                    shutil.rmtree(path, ignore_errors=True)
    for image in all_baked():
        with suppress(FileNotFoundError):
            unused_s = time.time() - image.in_use.stat().st_mtime
            if image.manifest["name"] == name and unused_s > _UNUSED_S and not image.is_laid_under:
                image.drop()


def _pieces(left_bytes: int) -> Iterator[bytes]:
    """Yield the next bytes of standard input.

    :raise HostError: they do not come.
    """
    while left_bytes:
        if not select.select([0], [], [], SILENCE_S)[0] or not (piece := os.read(0, min(left_bytes, _PIECE_BYTES))):
            raise HostError("the rest did not come")
        left_bytes -= len(piece)
        yield piece


def _line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):  # byte by byte: what follows is somebody else's
        if not (byte := os.read(0, 1)):
            raise HostError("the rest did not come")
        line += byte
    return line


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tell(event: str, **fields: Any) -> None:  # noqa: ANN401 - whatever JSON has
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()
