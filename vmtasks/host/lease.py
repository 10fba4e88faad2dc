"""What is written down of each machine: whose it is, and (by a lock) whether it lives."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmtasks.config.paths import cache_dir
from vmtasks.files import typed_json
from vmtasks.files.regular_file import open_regular
from vmtasks.files.typed_json import SECONDS

_SHAPE = {
    "name?": str, "image?": str, "user?": str, "what?": str, "since_s?": SECONDS, "until_s?": (SECONDS, None),
    "supervisor_pid?": (int, None), "caller_pid?": (int, None), "qemu_pid?": (int, None),
    "ports?": {"*": int}, "console?": (str, None),
}  # fmt: skip

_UNBORN_S = 60.0
"""How long a machine's directory may be without a lease, which it has at once unless its maker is stopped."""


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
    dead = tuple(lease for lease in (*leases(), *_without_lease()) if not lease.alive)
    for lease in dead:
        shutil.rmtree(lease.directory, ignore_errors=True)
    return dead


def _without_lease() -> Iterator[Lease]:
    """Yield what never came to have a lease: after a power cut, or where its maker was killed in between."""
    for directory in sorted(machines_dir().glob("*/")):
        with suppress(FileNotFoundError):  # it has gone just now
            is_young = time.time() - directory.stat().st_mtime < _UNBORN_S
            if not (is_young or (directory / "lease.json").exists()):
                yield _read(directory, "lease.new")


def _read(directory: Path, name: str = "lease.json") -> Lease:
    try:
        fd = open_regular(directory / name)
    except OSError:
        return Lease(directory=directory, alive=False, info={})  # it ended just now, or is none
    try:
        info = typed_json.read_open(fd, _SHAPE) or {}  # it may be about to be written
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Lease(directory=directory, alive=True, info=info)
    finally:
        os.close(fd)
    return Lease(directory=directory, alive=False, info=info)
