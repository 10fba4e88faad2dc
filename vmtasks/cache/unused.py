"""Entries of the cache that have not served for a while."""

from __future__ import annotations

import time
from pathlib import Path

from vmtasks.cache.entry import CacheEntry, sweep


def prune_unused(directory: Path, *, spared_s: float) -> int:
    """Remove the entries of a directory that have not served lately, and return how many bytes that has freed.

    :param spared_s: how long ago an entry may have served and stay, in seconds.
    """
    freed_bytes = 0
    sweep(directory)
    for one in directory.glob("[0-9a-f]*[0-9a-f]/"):
        kept = CacheEntry(directory=one)
        size_bytes = kept.size_bytes
        if time.time() - kept.used_s >= spared_s and kept.drop():
            freed_bytes += size_bytes
    return freed_bytes
