"""Frozen machines: where they are kept, how they are found again, and which go first when room is short.

::

    CACHE/frozen/KEY-SERIAL/    one frozen machine; renamed into place when it is complete, never written again
        ram                     its memory, sparse; machines that start from here map it privately
        state                   its devices
        disk.qcow2              its disk, over the image's or over another frozen machine's
        overlay                 an empty disk over that one; machines that start from here copy it
        frozen.json             what it is
        in-use                  locked (shared) by every machine that stands on it
    CACHE/frozen/IMAGE.lock     locked by whoever makes a template of IMAGE

A template is an image, booted and settled; a checkpoint is a machine in the middle of its work. Both only save time:
all of this may be removed whenever no machine stands on it. A checkpoint that can be found again by nobody but its
maker is the maker's until that ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vmtasks import events
from vmtasks.cache import entry
from vmtasks.cache.entry import Kept
from vmtasks.config.paths import cache_dir, nearest
from vmtasks.config.settings import HostSettings
from vmtasks.errors import HostError
from vmtasks.host.flock import flock
from vmtasks.process.cleanup import SPARED, entrust

Kind = Literal["template", "checkpoint"]

_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]+")
_ours: dict[Path, int] = {}
"""The checkpoints that only this process can find, and the locks on them, which it has until it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen(Kept):
    """A machine at rest."""

    said: Mapping[str, Any]
    """``kind``, ``name``, ``key``, ``made_s``, ``stands_on`` (paths of lock files), ``files``, and its maker's own."""

    @property
    def kind(self) -> Kind:
        """What it was made for."""
        return "template" if self.said["kind"] == "template" else "checkpoint"

    @property
    def name(self) -> str:
        """The image's name, or what the checkpoint was called."""
        return str(self.said["name"])

    @property
    def on(self) -> str:
        """The host that has it, as ``--on`` names it."""
        return self.place.name

    @property
    def ram(self) -> Path:
        """Its memory, a sparse file."""
        return self.directory / "ram"

    @property
    def state(self) -> Path:
        """Its devices' state, for QEMU to load."""
        return self.directory / "state"

    @property
    def overlay(self) -> Path:
        """An empty disk over its own."""
        return self.directory / "overlay"

    @property
    def holds(self) -> tuple[Path, ...]:
        """The lock files of everything that a machine which starts from here stands on."""
        return (self.in_use, *map(Path, self.said["stands_on"]))

    @property
    def made(self) -> str:
        """When it was frozen, as people write it."""
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(self.said["made_s"])))

    @property
    def age_s(self) -> float:
        """Seconds since it was frozen."""
        return max(0.0, time.time() - float(self.said["made_s"]))

    @property
    def used_s(self) -> float:
        """When it last served, in seconds since the epoch."""
        with suppress(FileNotFoundError):
            return self.in_use.stat().st_mtime
        return 0.0

    @property
    def intact(self) -> bool:
        """Whether its files are those that were made, and what it stands on is there."""
        if not self.place.is_here:
            return self.place.call(_is_intact, self)
        try:
            return all(path.exists() for path in self.holds) and self.said["files"] == _stamps(self.directory)
        except OSError:
            return False

    def touch(self) -> None:
        """Remember that it serves."""
        if not self.place.is_here:
            self.place.call(Frozen.touch, self)
            return
        with suppress(OSError):  # pruned this very moment: whoever starts from it will notice
            os.utime(self.in_use)

    def drop(self) -> bool:
        """Remove it unless a machine stands on it, and return whether it is gone. What is ours, we let go of."""
        if self.place.is_here and (fd := _ours.pop(self.directory, None)) is not None:
            os.close(fd)
        return Kept.drop(self)


def frozen_dir() -> Path:
    """Return the directory of frozen machines, which need not exist."""
    return cache_dir() / "frozen"


def key_for(text: str) -> str:
    """Return the key of what *text* says all of."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find(key: str) -> Frozen | None:
    """Return the newest frozen machine of that key; None if there is none. One that is damaged is dropped."""
    found = sorted(_all(key), key=lambda frozen: float(frozen.said["made_s"]), reverse=True)
    for frozen in found:
        if frozen.intact:
            return frozen
        events.emit(events.Note(text=f"the {frozen.kind} of {frozen.name} is damaged: dropped", level="warning"))
        frozen.drop()
    return None


def read(directory: Path) -> Frozen:
    """Return the frozen machine in a directory.

    :raise HostError: there is none, or it is damaged.
    """
    if (found := _read(directory)) and found.intact:
        return found
    raise HostError(f"there is no frozen machine in {directory}, or it is damaged")


def all_frozen() -> tuple[Frozen, ...]:
    """Return every frozen machine, the one that served last at the end."""
    return tuple(sorted(_all(), key=lambda frozen: frozen.used_s))


def only_maker(name: str) -> AbstractContextManager[bool]:
    """Be the only one who makes a template of the image *name*; yield whether somebody else had to be waited for.

    :raise HostError: the cache cannot be written.
    """
    return entry.alone(frozen_dir() / f"{name}.lock", other=f"another template of {name}")


@contextmanager
def making(
    key: str, kind: Kind, name: str, *, stands_on: tuple[Path, ...], **more: object
) -> Iterator[tuple[Path, Path]]:
    """Yield a directory to freeze a machine into, and the one that it becomes once the block has ended well.

    :param stands_on: the lock files of what its disk is laid over.
    :param more: what else to write down of it, as JSON has it. With ``keep=False``, because nobody else can find it,
        it is held until this process drops it or ends, and goes then.
    """
    final = frozen_dir() / f"{key}-{time.time_ns():x}"
    beside = frozen_dir() / f".{key}_{os.getpid()}_{time.monotonic_ns():x}.part"
    with entry.part(beside):
        yield beside, final
        said = {
            "kind": kind, "name": name, "key": key, "made_s": time.time(), "stands_on": [*map(str, stands_on)],
            "files": _stamps(beside), **more,
        }  # fmt: skip
        (beside / "frozen.json").write_text(json.dumps(said, indent=1) + "\n")
        only_ours = not more.get("keep", True)
        if only_ours:
            entrust(final)
        else:
            for below in {path.parent for path in stands_on} & _ours.keys():
                (below / SPARED).touch()  # for as long as this one is kept, which sweeps and prunes see to
        beside.rename(final)
        if only_ours:
            _ours[final] = flock(final / "in-use", fcntl.LOCK_SH)
        prune(room_bytes(HostSettings.load()))  # which spares this one: we hold it until the block ends


def room_bytes(settings: HostSettings) -> int:
    """Return how much frozen machines may take: what the settings say, or less where the disk has little left."""
    free_bytes = shutil.disk_usage(nearest(cache_dir())).free
    taken_bytes = sum(frozen.size_bytes for frozen in _all())
    return min(settings.frozen_mib * 1024**2, int(settings.frozen_share * (free_bytes + taken_bytes)))


def has_room(settings: HostSettings) -> bool:
    """Return whether there is any use in making a frozen machine: where there is no room, none is kept.

    Each start asks, so it is found out without a look at all that is kept, but where the disk is full.
    """
    if not (settings.frozen_mib and settings.frozen_share):
        return False
    return shutil.disk_usage(nearest(cache_dir())).free * settings.frozen_share >= 1 or room_bytes(settings) > 0


def prune(limit_bytes: int) -> tuple[tuple[Frozen, int], ...]:
    """Remove what is damaged, and then those that served longest ago, until the rest has room.

    What another one or a machine stands on stays.

    :return: those that were removed, and the bytes that each took.
    """
    sweep()
    left = list(all_frozen())
    sizes = {frozen.directory: frozen.size_bytes for frozen in left}
    gone = [frozen for frozen in left if not frozen.intact and frozen.drop()]
    left = [frozen for frozen in left if frozen not in gone]
    busy = {str(directory / "in-use") for directory in tuple(_ours)}
    while sum(sizes[frozen.directory] for frozen in left) > limit_bytes:
        needed = busy | _beneath(left)
        oldest = next((frozen for frozen in left if str(frozen.in_use) not in needed), None)
        if oldest is None:
            break  # all that is left is in use
        if oldest.drop():
            left.remove(oldest)
            gone.append(oldest)
        else:
            busy.add(str(oldest.in_use))
    return tuple((frozen, sizes[frozen.directory]) for frozen in gone)


def sweep() -> tuple[Path, ...]:
    """Remove what makers that were killed have left: half-made ones, and checkpoints that nobody can find any more.

    :return: the directories that were removed.
    """
    damaged = [path for path in frozen_dir().glob("[!.]*") if _NAME.fullmatch(path.name) and _read(path) is None]
    swept = [*entry.sweep(frozen_dir()), *(path for path in damaged if Kept(directory=path).drop())]
    left = sorted(_all(), key=lambda frozen: float(frozen.said["made_s"]), reverse=True)
    for frozen in tuple(left):  # the youngest first: it may be what keeps an older one
        abandoned = not frozen.said.get("keep", True) and frozen.directory not in _ours
        if abandoned and str(frozen.in_use) not in _beneath(left) and frozen.drop():
            left.remove(frozen)
            swept.append(frozen.directory)
    return tuple(swept)


def let_go() -> None:
    """Remove the checkpoints that only this process can find."""
    for directory in tuple(_ours):
        if found := _read(directory):
            found.drop()


def _is_intact(frozen: Frozen) -> bool:
    return frozen.intact


def _beneath(those: Iterable[Frozen]) -> set[str]:
    """Return the lock files of all that others stand on."""
    return {path for frozen in those for path in frozen.said["stands_on"]}


def _stamps(directory: Path) -> dict[str, list[int]]:
    """Return size and time of the last change of each file: what tells a whole one from one that was cut short."""
    status = {name: (directory / name).stat() for name in ("ram", "state", "disk.qcow2", "overlay")}
    return {name: [one.st_size, one.st_mtime_ns] for name, one in status.items()}


def _all(key: str = "") -> Iterator[Frozen]:
    for path in sorted(frozen_dir().glob(f"{key or '[!.]*'}-*")):
        if found := _read(path):
            yield found


def _read(directory: Path) -> Frozen | None:
    try:
        said = json.loads((directory / "frozen.json").read_text())
    except (OSError, ValueError):
        return None  # pruned this very moment, or damaged
    whole = isinstance(said, dict) and {"kind", "name", "key", "made_s", "stands_on", "files"} <= said.keys()
    return Frozen(directory=directory, said=said) if whole else None
