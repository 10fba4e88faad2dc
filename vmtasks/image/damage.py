"""Whether a baked image is what was baked; one that is not is removed, and then baked anew when it is asked for."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from vmtasks import events
from vmtasks.cache.digest import damage_of, digests_of
from vmtasks.config.here import task_line
from vmtasks.errors import HostError
from vmtasks.image.baked import BakedImage, find_baked, keys_of, on_disk, read_baked
from vmtasks.image.definition import Definition

_TO_RUN = ("disk.qcow2", "initrd", "vmlinuz")
_AT_HOME = ("id_ed25519", "known_hosts")
"""How to get in, which stays on the host where it was baked."""
_TREE = "root.tar.zst"
_DIGESTS = "digests"
_MAGIC = b"QFI\xfb"


def described(directory: Path) -> dict[str, Any]:
    """Return what the manifest of the bake in *directory* is to have of its files."""
    there = [name for name in (*_TO_RUN, *_AT_HOME, _TREE) if (directory / name).exists()]
    size_bytes = (directory / "disk.qcow2").stat().st_size
    return {"disk_bytes": size_bytes, _DIGESTS: digests_of(directory, there)}


def damage(image: BakedImage, *, travelled: bool = False, completely: bool = False) -> str:
    """Return what is wrong with the files of a bake; nothing if they are what was baked.

    :param travelled: it was baked on another host, and what stays there is missing.
    :param completely: read all of them, and not only parts, as each start does.
    """
    known: Any = image.manifest.get(_DIGESTS)
    if known is None:
        return _damage_by_sight(image, travelled=travelled)
    if not isinstance(known, dict):
        return "what is written down of its files makes no sense"
    here = {name: known[name] for name in known if not travelled or name in _TO_RUN}
    return damage_of(image.directory, here, completely=completely)


def _damage_by_sight(image: BakedImage, *, travelled: bool) -> str:
    """Look at a bake of an earlier version, which wrote no digests down."""
    for name in ("disk.qcow2", *(("initrd", "vmlinuz") if image.kernel else ()), *(() if travelled else _AT_HOME)):
        try:
            if not (image.directory / name).stat().st_size:
                return f"{name} is empty"
        except OSError as problem:
            return f"{name} is missing" if problem.errno == errno.ENOENT else f"{name}: {problem.strerror}"
    with image.disk.open("rb") as disk:
        is_qcow2 = disk.read(len(_MAGIC)) == _MAGIC
    return "" if is_qcow2 else "disk.qcow2 does not begin like one"


def _has_travelled(image: BakedImage) -> bool:
    """Tell whether it was baked on another host, which alone knows how to get in."""
    return not (image.identity.exists() or image.known_hosts.exists())


def look(image: BakedImage) -> str:
    """Return what is wrong with a bake at a glance, wherever it was baked; nothing if it seems whole."""
    return damage(image, travelled=_has_travelled(image))


def find_whole(definition: Definition, keys: tuple[str, ...] = ()) -> BakedImage | None:
    """Do what :func:`vmtasks.image.baked.find_baked` does, and remove what turns out to be damaged on the way.

    One that a machine or a disk elsewhere stands on stays, and counts as none: what is baked next is newer.
    """
    keys = keys or keys_of(definition)
    while (found := find_baked(definition, keys)) and (reason := damage(found)):
        if not _drop_aloud(found, definition.name, reason):
            return None
    if found is None:  # what cannot be read is no bake, and would only take room
        for other in on_disk():
            if not other.manifest and other.serial.startswith(f"{definition.name}-{keys[-1]}-"):
                _drop_aloud(other, definition.name, "its manifest cannot be read, or its disk was cut short")
    return found


def read_whole(directory: Path) -> BakedImage:
    """Return the bake in a directory.

    :raise HostError: there is none any more, or it is damaged.
    """
    found = read_baked(directory)
    if reason := look(found):
        raise HostError(
            f"the baked image in {directory} is damaged: {reason}",
            hint=f"{task_line('images.check')} removes it, and the next run that needs it bakes it anew",
        )
    return found


def condemn(image: BakedImage) -> str:
    """Read all of a bake, remove it if it is damaged, and return what is wrong with it; nothing if it is whole."""
    if reason := damage(image, travelled=_has_travelled(image), completely=True):
        _drop(image)
    return reason


def _drop_aloud(image: BakedImage, name: str, reason: str) -> bool:
    gone = _drop(image)
    if image.serial not in _told:
        _told.add(image.serial)
        fate = "dropped" if gone else "it cannot be removed now"
        events.emit(events.Note(text=f"the image {name} is damaged: {reason}; {fate}", level="warning"))
    return gone


_told: set[str] = set()
"""The damaged bakes that were told of: one that stays is met again and again."""


def _drop(image: BakedImage) -> bool:
    try:
        return not image.is_laid_under and image.drop()
    except OSError:  # a cache that cannot be written: the next bake says so
        return False
