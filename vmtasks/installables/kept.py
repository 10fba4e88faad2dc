"""Where what was fetched is kept, by what it must contain.

::

    CACHE/installables/KEY/         the files
        in-use                      when they last served; locked by those who read them
    CACHE/installables/KEY.lock     locked by the process that fetches them
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vmtasks.cache.entry import CacheEntry, exclusive, incomplete
from vmtasks.cache.unused import prune_unused
from vmtasks.config.paths import cache_dir
from vmtasks.errors import HostError
from vmtasks.files import durable
from vmtasks.host.flock import flock
from vmtasks.image.spared import SPARED_S


def installables_dir() -> Path:
    """Return the directory of what was fetched, which need not exist."""
    return cache_dir() / "installables"


@contextmanager
def kept(key: str, *, make: Callable[[Path], None], is_whole: Callable[[Path], bool]) -> Iterator[Path]:
    """Have a directory made if it is not there or damaged, and yield it; nobody removes it until the block ends.

    :param key: hexadecimal digits.
    :param make: fills a directory.
    :param is_whole: tells whether a directory has what it must have.
    :raise HostError: the disk failed.
    """
    entry = CacheEntry(directory=installables_dir() / key)
    lock = entry.directory.with_name(f"{key}.lock")
    with ExitStack() as stack:
        with exclusive(lock, other="another process, which fetches the same"):
            held = stack.enter_context(ExitStack())
            if not (_hold(entry, held) and is_whole(entry.directory)):
                held.close()
                entry.drop()  # what is there is damaged
                _make(entry, make, held)
        entry.touch()
        yield entry.directory


def _hold(entry: CacheEntry, held: ExitStack) -> bool:
    """Keep an entry from being removed, and tell whether it is there."""
    try:
        held.callback(os.close, flock(entry.in_use, fcntl.LOCK_SH))
    except OSError:
        return False
    return True


def _make(entry: CacheEntry, make: Callable[[Path], None], held: ExitStack) -> None:
    beside = entry.directory.with_name(f".{entry.directory.name}.{os.getpid()}.part")
    with incomplete(beside):  # which holds it until it is held here, under its own name
        try:
            make(beside)
            durable.rename(beside, entry.directory)
            held.callback(os.close, flock(entry.in_use, fcntl.LOCK_SH))
        except OSError as problem:
            cause = problem.strerror or problem
            raise HostError(f"cannot keep what was fetched in {entry.directory.parent}: {cause}") from problem


def prune(*, everything: bool = False) -> int:
    """Remove what has not served for a week, and return how many bytes that has freed.

    :param everything: remove the rest as well.
    """
    return prune_unused(installables_dir(), spared_s=0 if everything else SPARED_S)


def key_of(*parts: str) -> str:
    """Return the key of what consists of several things."""
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()
