"""What tells a whole file from a damaged one: a look at parts of it at each start, or at all of it when asked.

Against accidents: what can write to the cache can write other digests, too. So the quick look, which each start of
a machine waits for, makes do with a CRC-32 of the beginning (where qcow2 has its tables), of the end (which is missing
of what was cut short), and of some blocks that were not empty: after a power cut, what is lost reads as zeros.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vmtasks.files.regular_file import open_regular
from vmtasks.host.sparse import extents

_HEAD_BYTES = 256 * 1024
_TAIL_BYTES = 64 * 1024
_SAMPLES = 24
_SAMPLE_BYTES = 4096
_BLOCK_BYTES = 64 * 1024
_ZEROS = bytes(_BLOCK_BYTES)

Digests = Mapping[str, Mapping[str, Any]]


def digests_of(directory: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what :func:`damage_of` compares the files with later on, as JSON has it.

    :raise OSError: one cannot be read.
    """
    return {name: _digest(directory / name) for name in names}


def damage_of(directory: Path, known: Digests, *, completely: bool = False) -> str:
    """Return what is wrong with the first file that is not what it was; nothing if all are.

    :param completely: read all of them, and not only parts.
    """
    for name, digest in known.items():
        try:
            if reason := _damage(directory / name, digest, completely=completely):
                return f"{name} {reason}"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as problem:
            return f"{name} cannot be read: {problem.strerror}"
        except (KeyError, TypeError, ValueError, OverflowError):
            return f"what is written down of {name} makes no sense"
    return ""


def _digest(path: Path) -> dict[str, Any]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size_bytes = os.fstat(fd).st_size
        whole = hashlib.sha256()
        candidates = []
        for at, block in _blocks(fd):
            whole.update(at.to_bytes(8, "big") + block)
            if block[:_SAMPLE_BYTES] != _ZEROS[: len(block[:_SAMPLE_BYTES])]:
                candidates.append(at)
        samples = candidates[:: max(1, len(candidates) // _SAMPLES)][:_SAMPLES]
        return {
            "bytes": size_bytes,
            "samples": samples,
            "crc32": _quick(fd, size_bytes, samples),
            "sha256": whole.hexdigest(),
        }
    finally:
        os.close(fd)


def _damage(path: Path, known: Mapping[str, Any], *, completely: bool) -> str:
    fd = open_regular(path)
    try:
        size_bytes = os.fstat(fd).st_size
        if size_bytes != known["bytes"]:
            return f"has {size_bytes} bytes, and had {known['bytes']}"
        is_same = _quick(fd, size_bytes, known["samples"]) == known["crc32"]
        if is_same and completely:
            whole = hashlib.sha256()
            for at, block in _blocks(fd):
                whole.update(at.to_bytes(8, "big") + block)
            is_same = whole.hexdigest() == known["sha256"]
        return "" if is_same else "has other bytes than when it was made"
    finally:
        os.close(fd)


def _quick(fd: int, size_bytes: int, samples: Iterable[int]) -> int:
    """Return the CRC-32 of parts of a file: of all of it, if it is small."""
    if size_bytes <= _HEAD_BYTES + _TAIL_BYTES:
        return zlib.crc32(os.pread(fd, size_bytes, 0))
    crc = zlib.crc32(os.pread(fd, _HEAD_BYTES, 0))
    for at in samples:
        crc = zlib.crc32(os.pread(fd, _SAMPLE_BYTES, at), crc)
    return zlib.crc32(os.pread(fd, _TAIL_BYTES, size_bytes - _TAIL_BYTES), crc)


def _blocks(fd: int) -> Iterator[tuple[int, bytes]]:
    """Yield the blocks of a file that are not empty, and where they are: holes or zeros, a copy has either."""
    done = 0
    for start, end in extents(fd):
        for at in range(max(done, start - start % _BLOCK_BYTES), end, _BLOCK_BYTES):
            block = os.pread(fd, _BLOCK_BYTES, at)
            if block != _ZEROS[: len(block)]:
                yield at, block
            done = at + _BLOCK_BYTES
