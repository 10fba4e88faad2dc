"""Snapshots of machines: where they are kept, how they are found again, and which go first when room is short.

::

    CACHE/snapshots/KEY-SERIAL/    one snapshot; renamed into place when it is complete, never written again
        ram                     its memory, sparse; machines that start from here map it privately
        state                   its devices
        disk.qcow2              its disk, over the image's or over another snapshot's
        overlay                 an empty disk over that one; machines that start from here copy it
        snapshot.json           what it is
        in-use                  locked (shared) by every machine that stands on it
    CACHE/snapshots/IMAGE.lock     locked by the process that makes a template of IMAGE

A template is an image, booted and settled; a checkpoint is a machine in the middle of its work. Both only save time:
all of this may be removed whenever no machine stands on it. A checkpoint that no process but its maker can find
again is the maker's until that ends. A failure is a machine as it was when something failed in it; it is called by its
directory's name, and kept for a while.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from vmtasks import events
from vmtasks.cache import entry
from vmtasks.cache.digest import digests_of
from vmtasks.cache.entry import CacheEntry
from vmtasks.cache.failures import beyond
from vmtasks.cache.snapshot import FILES, Kind, Snapshot, file_stamps, private_snapshots
from vmtasks.config.paths import cache_dir, nearest
from vmtasks.config.settings import HostSettings
from vmtasks.errors import HostError
from vmtasks.files import durable, typed_json
from vmtasks.files.typed_json import SECONDS
from vmtasks.host.flock import flock, try_lock
from vmtasks.process.cleanup import KEEP_MARKER, remove_at_exit

_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]+")
_SHAPE = {
    "kind": {"template", "checkpoint", "failure"}, "name": str, "key": str, "made_s": SECONDS,
    "stands_on": [str], "files": {"*": [int]}, "keep?": bool, "image?": str, "baked?": str,
}  # fmt: skip


def snapshots_dir() -> Path:
    """Return the directory of snapshots, which need not exist."""
    return cache_dir() / "snapshots"


def key_for(text: str) -> str:
    """Return the key of what *text* describes completely."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find(key: str) -> Snapshot | None:
    """Return the newest snapshot of that key; None if there is none. One that is damaged is dropped."""
    found = sorted(_all(key), key=lambda snapshot: float(snapshot.metadata["made_s"]), reverse=True)
    for snapshot in found:
        if not (reason := snapshot.damage()):
            return snapshot
        text = f"the {snapshot.kind} of {snapshot.name} is damaged: {reason}; dropped"
        events.emit(events.Note(text=text, level="warning"))
        snapshot.drop()
    return None


def read(directory: Path) -> Snapshot:
    """Return the snapshot in a directory.

    :raise HostError: there is none, or it is damaged.
    """
    if (found := _read(directory)) and found.intact:
        return found
    raise HostError(f"there is no snapshot in {directory}, or it is damaged")


def failure(name: str) -> Snapshot:
    """Return the machine that was frozen as it failed, by the name of its directory; a damaged one is dropped.

    :raise HostError: there is none of that name, or it is damaged.
    """
    found = _read(snapshots_dir() / name) if _NAME.fullmatch(name) else None
    if found is None or found.kind != "failure":
        settings = HostSettings.load()
        bounds = f"{settings.reopen_days:g} days (reopen_days), or until newer ones need the room (reopen_mib)"
        raise HostError("the frozen machine is gone", hint=f"one is kept for {bounds}; run the test once more")
    if reason := found.damage():
        found.drop()
        raise HostError(f"the frozen machine is damaged, and has been removed: {reason}", hint="run the test once more")
    return found


def expect_room_for_failures() -> None:
    """See that a machine which is frozen now would be there for somebody to find it.

    :raise HostError: the settings of this host, or its disk, leave it no room.
    """
    settings = HostSettings.load()
    if not (settings.reopen_mib and has_room(settings)):
        raise HostError("there is no room for it", hint="reopen_mib, snapshots_mib and snapshots_share say how much")


def condemn(snapshot: Snapshot) -> str:
    """Read all of one, remove it if it is damaged, and return what is wrong with it; nothing if it is whole."""
    if reason := snapshot.damage(completely=True):
        with suppress(OSError):  # a cache that cannot be written
            snapshot.drop()
    return reason


def all_snapshots() -> tuple[Snapshot, ...]:
    """Return every snapshot, the one that served last at the end."""
    return tuple(sorted(_all(), key=lambda snapshot: snapshot.used_s))


def template_lock(name: str) -> AbstractContextManager[bool]:
    """Be the only process that makes a template of the image *name*; yield whether another had to be waited for.

    :raise HostError: the cache cannot be written.
    """
    return entry.exclusive(snapshots_dir() / f"{name}.lock", other=f"another template of {name}")


@contextmanager
def create(
    key: str, kind: Kind, name: str, *, lock_files: tuple[Path, ...], **more: object
) -> Iterator[tuple[Path, Path]]:
    """Yield a directory to save a machine into, and the one that it becomes once the block has ended well.

    :param lock_files: the lock files of what its disk is laid over.
    :param more: what else to write down of it, as JSON has it. With ``keep=False``, because no other process can find
        it, it is held until this process drops it or ends, and goes then.
    """
    final = snapshots_dir() / f"{key}-{time.time_ns():x}"
    beside = snapshots_dir() / f".{key}_{os.getpid()}_{time.monotonic_ns():x}.part"
    with entry.incomplete(beside):
        yield beside, final
        metadata = {
            "kind": kind, "name": name, "key": key, "made_s": time.time(), "stands_on": [*map(str, lock_files)],
            "files": file_stamps(beside), **more,
        }  # fmt: skip
        only_ours = not more.get("keep", True)
        if not only_ours:  # which serves at once, and not for long
            metadata["digests"] = digests_of(beside, FILES)
        (beside / "snapshot.json").write_text(json.dumps(metadata, indent=1) + "\n")
        if only_ours:
            remove_at_exit(final)
        else:
            for below in {path.parent for path in lock_files}:
                if (found := _read(below)) and found.is_private:
                    (below / KEEP_MARKER).touch()  # for as long as this one is kept, which sweeps and prunes see to
        durable.rename(beside, final, lasting=not only_ours)
        if only_ours:
            private_snapshots[final] = flock(final / "in-use", fcntl.LOCK_SH)
        prune(quota_bytes(HostSettings.load()))  # which spares this one: we hold it until the block ends


def quota_bytes(settings: HostSettings) -> int:
    """Return how much snapshots may take: what the settings allow, or less where the disk has little left."""
    free_bytes = shutil.disk_usage(nearest(cache_dir())).free
    taken_bytes = sum(snapshot.size_bytes for snapshot in _all())
    return min(settings.snapshots_mib * 1024**2, int(settings.snapshots_share * (free_bytes + taken_bytes)))


def has_room(settings: HostSettings) -> bool:
    """Return whether there is any use in making a snapshot: where there is no room, none is kept.

    Each start asks, so it is found out without a look at all that is kept, but where the disk is full.
    """
    if not (settings.snapshots_mib and settings.snapshots_share):
        return False
    return shutil.disk_usage(nearest(cache_dir())).free * settings.snapshots_share >= 1 or quota_bytes(settings) > 0


def prune(limit_bytes: int) -> tuple[tuple[Snapshot, int], ...]:
    """Remove what is damaged, and then those that served longest ago, until the rest has room.

    What another one or a machine stands on stays.

    :return: those that were removed, and the bytes that each took.
    """
    sweep()
    left = list(all_snapshots())
    sizes = {snapshot.directory: snapshot.size_bytes for snapshot in left}
    gone = [snapshot for snapshot in left if not snapshot.intact and snapshot.drop()]
    left = [snapshot for snapshot in left if snapshot not in gone]
    busy = {str(directory / "in-use") for directory in tuple(private_snapshots)}
    while sum(sizes[snapshot.directory] for snapshot in left) > limit_bytes:
        needed = busy | _beneath(left)
        oldest = next((snapshot for snapshot in left if str(snapshot.in_use) not in needed), None)
        if oldest is None:
            break  # all that is left is in use
        if oldest.drop():
            left.remove(oldest)
            gone.append(oldest)
        else:
            busy.add(str(oldest.in_use))
    return tuple((snapshot, sizes[snapshot.directory]) for snapshot in gone)


def sweep() -> tuple[Path, ...]:
    """Remove what makers that were killed have left: half-made ones, and checkpoints that no process can find any more.

    The machines that were frozen as they failed go as well, once they are beyond their bounds.

    :return: the directories that were removed.
    """
    damaged = [path for path in snapshots_dir().glob("[!.]*") if _NAME.fullmatch(path.name) and _read(path) is None]
    swept = [*entry.sweep(snapshots_dir()), *(path for path in damaged if CacheEntry(directory=path).drop())]
    left = sorted(_all(), key=lambda snapshot: float(snapshot.metadata["made_s"]), reverse=True)
    expired = beyond(left, HostSettings.load())
    for snapshot in tuple(left):  # the youngest first: it may be what keeps an older one
        abandoned = snapshot.is_private and snapshot.directory not in private_snapshots
        if (abandoned or snapshot in expired) and str(snapshot.in_use) not in _beneath(left) and snapshot.drop():
            left.remove(snapshot)
            swept.append(snapshot.directory)
    return tuple(swept)


def remove_old_layout() -> None:
    """Remove what versions before 0.2 kept as ``CACHE/frozen``, but for what machines of theirs stand on."""
    old = cache_dir() / "frozen"
    for path in old.glob("*/in-use"):
        with try_lock(path) as free:
            if free:
                shutil.rmtree(path.parent, ignore_errors=True)
    if old.is_dir() and not any(old.glob("*/in-use")):
        shutil.rmtree(old, ignore_errors=True)


def remove_private() -> None:
    """Remove the checkpoints that only this process can find."""
    for directory in tuple(private_snapshots):
        if found := _read(directory):
            found.drop()


def _beneath(those: Iterable[Snapshot]) -> set[str]:
    """Return the lock files of all that others stand on."""
    return {path for snapshot in those for path in snapshot.metadata["stands_on"]}


def _all(key: str = "") -> Iterator[Snapshot]:
    for path in sorted(snapshots_dir().glob(f"{key or '[!.]*'}-*")):
        if found := _read(path):
            yield found


def _read(directory: Path) -> Snapshot | None:
    metadata = typed_json.read(directory / "snapshot.json", _SHAPE)  # none if it is pruned this very moment, or damaged
    return Snapshot(directory=directory, metadata=metadata) if metadata else None
