"""What is written down of each machine: whose it is, and (by a lock) whether it lives."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmtasks.config.paths import cache_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One machine's directory, as its supervisor wrote it."""

    directory: Path
    alive: bool
    """Whether the supervisor holds its lock; the kernel takes that away with it."""
    info: Mapping[str, Any]
    """``name``, ``image``, ``user``, ``what``, ``since_s``, ``supervisor_pid``, ``qemu_pid``, ``ports``, ..."""


def machines_dir() -> Path:
    """Return where this user's machines have their directories."""
    return cache_dir() / "machines"


def leases() -> tuple[Lease, ...]:
    """Return this user's machines, living and dead."""
    return tuple(_read(path.parent) for path in sorted(machines_dir().glob("*/lease.json")))


def sweep() -> tuple[Lease, ...]:
    """Remove what dead machines have left, and return their leases.

    Only a machine whose supervisor is provably gone is touched, and the kernel ended its QEMU with it.
    """
    dead = tuple(lease for lease in leases() if not lease.alive)
    for lease in dead:
        shutil.rmtree(lease.directory, ignore_errors=True)
    return dead


def _read(directory: Path) -> Lease:
    path = directory / "lease.json"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Lease(directory=directory, alive=False, info={})  # it ended just now
    with os.fdopen(fd) as file:
        try:
            info = json.load(file)
        except ValueError:
            info = {}  # about to be written
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Lease(directory=directory, alive=True, info=info)
    return Lease(directory=directory, alive=False, info=info)
