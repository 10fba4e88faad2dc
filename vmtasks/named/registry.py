"""What is written down of named machines: a directory for each, below the cache.

``lock`` is locked (flock(2)) by the keeper of the machine, for as long as that is there; ``machine.json`` is what the
keeper has to tell, whole at any moment, and stays when it ends, so that later calls can be told why. ``keeper.log`` has
the keeper's messages, and ``control`` is the socket that it listens on.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from vmtasks.cache.entry import writing
from vmtasks.config.paths import cache_dir
from vmtasks.files import durable, typed_json
from vmtasks.files.typed_json import SECONDS
from vmtasks.host.flock import flock

End = Literal["down", "expired", "lost"]
"""How a machine went: it was asked to, its time had passed, or something else took it away."""
_LOOK_S = 1.0
"""How long a lock may be another process's that only looks whether it can be had."""
END_PATIENCE_S = 10.0
"""How long one may be a keeper's whose machine is just ending."""
_SHAPE = {
    "image": str, "on": str, "pid": int, "since_s": SECONDS, "ttl_s": int, "until_s": (SECONDS, None),
    "address": ({"host": str, "port": int, "user": str, "identity": (str, None), "known_hosts": (str, None)}, None),
    "ssh": [str], "end": ({"down", "expired", "lost"}, None), "why": str,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestAddress:
    """Where a guest is reached: :class:`vmtasks.ssh.connect.Address`, without all that comes along with it."""

    host: str
    port: int
    user: str
    identity: str | None
    known_hosts: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedMachine:
    """A named machine, as its keeper last wrote it down."""

    name: str
    image: str
    on: str
    """Where it runs, as ``--on`` has it."""
    pid: int
    """The keeper's."""
    since_s: float
    ttl_s: int
    until_s: float | None = None
    """When its time has passed; None: that has not begun."""
    address: GuestAddress | None = None
    """None: it is still booting."""
    ssh: tuple[str, ...] = ()
    """The command line of an ordinary ssh into it."""
    end: End | None = None
    why: str = ""
    """What took it away, where it is lost."""
    is_alive: bool = True
    """Whether its keeper is there."""

    @property
    def directory(self) -> Path:
        """Where all of it is written down."""
        return directory_of(self.name)

    def write(self) -> None:
        """Write it down.

        :raise OSError: the disk is full.
        """
        about = {key: value for key, value in asdict(self).items() if key in _SHAPE}
        beside = self.directory / "machine.new"
        beside.write_text(json.dumps(about, indent=1), encoding="utf-8")
        durable.rename(beside, self.directory / "machine.json", lasting=False)  # after a power cut, no machine is there


def registry_dir() -> Path:
    """Return where this user's named machines are written down."""
    return cache_dir() / "named"


def directory_of(name: str) -> Path:
    """Return where a machine is written down."""
    return registry_dir() / name


def find(name: str) -> NamedMachine | None:
    """Return what is known of a machine, there or gone; None where nothing is."""
    directory = directory_of(name)
    is_alive = _is_locked(directory / "lock")  # looked at first: what ends in between has written down how
    found = typed_json.read(directory / "machine.json", _SHAPE)
    if found is None:
        return None
    known: dict[str, Any] = {key: found[key] for key in _SHAPE}
    known["ssh"] = tuple(found["ssh"])
    if place := found["address"]:
        known["address"] = GuestAddress(**{one.name: place[one.name] for one in fields(GuestAddress)})
    machine = NamedMachine(**known, name=name, is_alive=is_alive)
    return machine if is_alive or machine.end else _ended_without_a_word(machine)


def _ended_without_a_word(machine: NamedMachine) -> NamedMachine:
    """Return the end of a machine whose keeper could not write it down; the machine ended with it, or before."""
    if machine.until_s is not None and machine.until_s <= time.time():
        return replace(machine, end="expired")
    return replace(machine, end="lost", why="the process that kept it was killed, or this host was started anew")


def machines() -> tuple[NamedMachine, ...]:
    """Return this user's named machines, those that are there and those that are gone."""
    with suppress(FileNotFoundError):
        names = sorted(path.name for path in registry_dir().iterdir())
        return tuple(machine for name in names if (machine := find(name)))
    return ()


@contextmanager
def entered(name: str, *, patience_s: float = END_PATIENCE_S) -> Iterator[None]:
    """Have a name for a new machine, for as long as the block lasts; what is known of an earlier one is forgotten.

    :raise BlockingIOError: a machine has it.
    :raise OSError: the cache cannot be written.
    """
    directory = directory_of(name)
    while True:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # a sweep has just removed the directory
            lock = _locked(directory, patience_s)
            break
    try:
        for path in directory.iterdir():
            if path.name != "lock":
                path.unlink()
        yield
    finally:
        os.close(lock)


def forget(name: str) -> bool:
    """Remove what is known of a machine that is gone, and tell whether that was so.

    :raise HostError: the cache cannot be written.
    """
    directory = directory_of(name)
    if (directory / "lock").is_dir():  # which no keeper can have locked
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()
    with writing(directory):
        lock = _unless_there(directory)
    if lock is None:
        return False
    try:
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(lock)
    return True


def _unless_there(directory: Path) -> int | None:
    """Take the lock of a machine that is gone; None: it is there, or nothing of ours.

    :raise OSError: the cache cannot be written.
    """
    try:
        return _locked(directory, _LOOK_S)
    except (BlockingIOError, FileNotFoundError, NotADirectoryError, PermissionError):  # it is there, or another user's
        return None


def sweep() -> Iterator[Path]:
    """Remove what is known of machines that are gone, and yield where it was.

    :raise HostError: the cache cannot be written.
    """
    with suppress(FileNotFoundError):
        for path in sorted(registry_dir().iterdir()):
            if forget(path.name):
                yield path


def _locked(directory: Path, patience_s: float) -> int:
    """Take the lock of a machine that is not there; return the descriptor.

    :raise BlockingIOError: it is there.
    :raise FileNotFoundError: the directory is not.
    """
    give_up_s = time.monotonic() + patience_s
    while True:
        try:
            return flock(directory / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_s:
                raise
        time.sleep(0.002)


def _is_locked(lock: Path) -> bool:
    """Tell whether a keeper has a lock."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
