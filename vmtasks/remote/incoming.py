"""Taking in a baked image from another host: what has come of it stays when the link breaks, and need not come again.

Called there by an agent. Only a complete image gets its place in the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from vmtasks.cache import entry
from vmtasks.errors import HostError
from vmtasks.files import durable
from vmtasks.files.checksum import sha256_of
from vmtasks.host.flock import try_lock
from vmtasks.image.baked import BakedImage, all_baked, images_dir
from vmtasks.image.damage import read_whole

FILES = ("disk.qcow2", "vmlinuz", "initrd", "manifest.json")
"""What a machine needs. How to get into it, no program there needs to know."""
_SERIAL = re.compile(r"[a-z0-9][a-z0-9.+-]*-[0-9a-f]{16}-[0-9a-f]+")
_UNUSED_S = 14 * 86400
"""After how long an older image of the same name goes that was sent, too."""


def received(serial: str) -> BakedImage | None:
    """Return an image that has come whole, and remember that it serves; None where it is not there."""
    directory = images_dir() / serial
    try:
        image = read_whole(directory)
        (directory / "in-use").touch()
    except (HostError, FileNotFoundError):
        return None
    return image


@contextmanager
def receiving(serial: str, sizes: Mapping[str, int]) -> Iterator[dict[str, int] | None]:
    """Be the only process that takes in an image; yield how many bytes of each file are there, or None if all of it is.

    :param sizes: of the files, in bytes.
    :raise HostError: there is no room for it.
    """
    if not _SERIAL.fullmatch(serial) or not set(sizes) <= set(FILES):
        raise HostError(f"cannot take in {serial}: that is no image")
    name = _name(serial)
    with entry.exclusive(_lock(name), other=f"somebody else who sends {name}"):
        if received(serial):  # they have sent it meanwhile
            yield None
            return
        _sweep(serial)
        if not entry.CacheEntry(directory=images_dir() / serial).drop():
            raise HostError(f"cannot take in {serial}: it is damaged there, and a machine stands on it")
        incoming = _incoming(serial)
        incoming.mkdir(parents=True, exist_ok=True)
        have = {file: min(_size(incoming / file), size) for file, size in sizes.items()}
        missing_bytes = sum(sizes.values()) - sum(have.values())
        free_bytes = shutil.disk_usage(incoming).free
        if missing_bytes > free_bytes:
            left = f"{free_bytes >> 20} MiB left"
            raise HostError(f"its cache has {left}, and the image needs {missing_bytes >> 20} MiB more")
        yield have


def add(serial: str, name: str, at: int, data: bytes) -> None:
    """Write a piece of a file that is being taken in."""
    fd = os.open(_incoming(serial) / Path(name).name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, data, at)
    finally:
        os.close(fd)


def complete(serial: str, digests: Mapping[str, str]) -> None:
    """Give an image its place.

    :param digests: the sha256 of each file.
    :raise HostError: what came is not what was sent.
    """
    incoming = _incoming(serial)
    if {name: sha256_of(incoming / name) for name in digests} != dict(digests):
        shutil.rmtree(incoming)
        raise HostError("what came is not what was sent; it was thrown away")
    durable.rename(incoming, images_dir() / serial)


def sweep() -> tuple[Path, ...]:
    """Remove what has come of images that no process sends any more, and return the directories that it was in."""
    swept = []
    for path in sorted(images_dir().glob(".*.incoming")):
        with try_lock(_lock(_name(_serial(path)))) as free:
            if free:
                shutil.rmtree(path, ignore_errors=True)
                swept.append(path)
    return tuple(swept)


def _sweep(serial: str) -> None:
    """Remove what else has come of this name and is of no use any more; no other process sends any of it."""
    name = _name(serial)
    for path in images_dir().glob(".*.incoming"):
        if _serial(path) != serial and _name(_serial(path)) == name:
            shutil.rmtree(path, ignore_errors=True)
    for image in all_baked():
        was_sent = not image.identity.exists()  # what was baked here is for its owner to prune
        if was_sent and image.manifest["name"] == name:
            with suppress(FileNotFoundError):
                if time.time() - image.in_use.stat().st_mtime > _UNUSED_S:
                    image.drop()


def _incoming(serial: str) -> Path:
    return images_dir() / f".{serial}.incoming"


def _serial(incoming: Path) -> str:
    return incoming.name.removeprefix(".").removesuffix(".incoming")


def _lock(name: str) -> Path:
    """Return what is locked by the process that sends an image of that name."""
    return images_dir() / f"{name}.incoming.lock"


def _name(serial: str) -> str:
    return serial.rsplit("-", 2)[0]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
