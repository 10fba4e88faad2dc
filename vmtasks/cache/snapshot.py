"""One snapshot of a machine: what it is, and whether it is whole."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vmtasks.cache.digest import damage_of
from vmtasks.cache.entry import CacheEntry
from vmtasks.files import typed_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(CacheEntry):
    """A machine at rest."""

    metadata: Mapping[str, Any]
    """``kind``, ``name``, ``key``, ``made_s``, ``stands_on`` (paths of lock files), ``files``, and its maker's own."""

    @property
    def kind(self) -> Kind:
        """What it was made for."""
        kind: Kind = self.metadata["kind"]
        return kind

    @property
    def name(self) -> str:
        """The image's name, what the checkpoint was called, or the name of the machine that failed."""
        return str(self.metadata["name"])

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
    def lock_files(self) -> tuple[Path, ...]:
        """The lock files of everything that a machine which starts from here stands on."""
        return (self.in_use, *map(Path, self.metadata["stands_on"]))

    @property
    def made(self) -> str:
        """When it was saved, as people write it."""
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(self.metadata["made_s"])))

    @property
    def age_s(self) -> float:
        """Seconds since it was saved."""
        return max(0.0, time.time() - float(self.metadata["made_s"]))

    @property
    def intact(self) -> bool:
        """Whether its files are those that were made, and what it stands on is there."""
        if not self.place.is_local:
            return self.place.call(is_intact, self)
        return not self.damage()

    def damage(self, *, completely: bool = False) -> str:
        """Return what is wrong with a snapshot of this host's; nothing if it is what was made.

        :param completely: read all of its files, and not only parts, as each start does.
        """
        if gone := next((path for path in self.lock_files if not path.exists()), None):
            return f"{gone.parent} is gone, which it stands on"
        try:
            if self.metadata["files"] != file_stamps(self.directory):
                return "a file has been written to since"
        except OSError as problem:
            return f"{Path(problem.filename).name} cannot be read: {problem.strerror}"
        known = self.metadata.get("digests", {})  # an earlier version wrote none, nor does who alone has it
        if not isinstance(known, dict):
            return "what is written down of its files makes no sense"
        return damage_of(self.directory, known, completely=completely)

    def drop(self) -> bool:
        """Remove it unless a machine stands on it, and return whether it is gone. What is ours, we let go of.

        A checkpoint that only its maker can find stays beneath what is kept, a machine that was frozen as it failed:
        a sweep removes it after that.
        """
        if self.place.is_local:
            if (fd := private_snapshots.pop(self.directory, None)) is not None:
                os.close(fd)
            if self.is_private and self._is_beneath_kept():
                return False
        return CacheEntry.drop(self)

    @property
    def is_private(self) -> bool:
        """Whether no process but its maker can find it, which it goes with."""
        return not self.metadata.get("keep", True)

    def _is_beneath_kept(self) -> bool:
        records = (typed_json.read(path, _ABOVE) for path in self.directory.parent.glob("[!.]*/snapshot.json"))
        return any(one and one.get("keep", True) and str(self.in_use) in one["stands_on"] for one in records)


def is_intact(snapshot: Snapshot) -> bool:
    """Tell whether a snapshot is as it was made: for calls on its own host."""
    return snapshot.intact


def file_stamps(directory: Path) -> dict[str, list[int]]:
    """Return size and time of the last change of each file: what tells a whole one from one that was cut short."""
    status = {name: (directory / name).stat() for name in FILES}
    return {name: [one.st_size, one.st_mtime_ns] for name, one in status.items()}


_ABOVE = {"stands_on": [str], "keep?": bool}
FILES = ("ram", "state", "disk.qcow2", "overlay")
Kind = Literal["template", "checkpoint", "failure"]
private_snapshots: dict[Path, int] = {}
"""The checkpoints that only this process can find, and the locks on them, which it has until it ends."""
