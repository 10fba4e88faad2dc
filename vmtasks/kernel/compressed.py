"""Modules that come compressed, as they were before.

The init of a lean initrd hands a module's file to the kernel as it is, and a kernel need not be able to decompress it;
kmod of an older image may not either. So no image of ours gets compressed ones.

Source: RFC 8878 (zstd's frame header).
"""

from __future__ import annotations

import gzip
import lzma
import os
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vmtasks.errors import HostError, UsageError
from vmtasks.host.confined import confined_argv
from vmtasks.process.confined import NOT_FOUND
from vmtasks.process.landlock import Reach

LIMIT_BYTES = 1024**3
"""How large a module may be."""
ALL_LIMIT_BYTES = 16 * 1024**3
"""How large all of them together may be."""
_BATCH_BYTES = 64 * 1024 * 1024
_BATCH_NAMES_BYTES = 64 * 1024
"""How long the names may be that one process is given, which are one word for it: Linux has a limit for that."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_HEADER_BYTES = 18
_READERS: Mapping[str, Any] = {".xz": lzma.open, ".gz": gzip.open}


def contents(paths: Sequence[Path]) -> Iterator[bytes]:
    """Yield what each file holds, decompressed if it is a module that ends with ``.xz``, ``.gz`` or ``.zst``.

    :raise UsageError: one is damaged, they are too large, or one cannot be read.
    :raise HostError: there is no zstd.
    """
    all_bytes = 0
    for content in _contents(paths):
        all_bytes += len(content)
        if all_bytes > ALL_LIMIT_BYTES:
            raise UsageError(f"cannot take the kernel: its files are larger than {ALL_LIMIT_BYTES >> 20} MiB together")
        yield content


def _contents(paths: Sequence[Path]) -> Iterator[bytes]:
    batch: list[Path] = []
    batch_bytes = names_bytes = 0
    for path in paths:
        if path.suffix == ".zst":  # one process for many: a kernel has thousands
            stated_bytes = frame_bytes(_beginning(path))  # where it does not say, it goes alone
            size_bytes = LIMIT_BYTES if stated_bytes is None else stated_bytes
            name_bytes = len(os.fsencode(path.resolve())) + 8  # quotes, a comma, and what JSON has for odd letters
            if batch_bytes + size_bytes > _BATCH_BYTES or names_bytes + name_bytes > _BATCH_NAMES_BYTES:
                yield from _zstd(batch)
                batch, batch_bytes, names_bytes = [], 0, 0
            batch.append(path)
            batch_bytes += size_bytes
            names_bytes += name_bytes
            continue
        yield from _zstd(batch)
        batch, batch_bytes, names_bytes = [], 0, 0
        yield _read(path)
    yield from _zstd(batch)


def frame_bytes(beginning: bytes) -> int | None:
    """Return how large zstd's first frame says that it is, decompressed; None if it does not say: a pure function."""
    if not beginning.startswith(_ZSTD_MAGIC) or len(beginning) < _ZSTD_HEADER_BYTES:
        return None
    descriptor = beginning[4]
    is_single = descriptor >> 5 & 1
    size_bytes = (is_single, 2, 4, 8)[descriptor >> 6]
    if not size_bytes:
        return None
    at = 5 + (1 - is_single) + (0, 1, 2, 4)[descriptor & 3]
    value = int.from_bytes(beginning[at : at + size_bytes], "little")
    return value + 256 if size_bytes == 2 else value  # noqa: PLR2004 - the width for which the format has it so


def _read(path: Path) -> bytes:
    opener = _READERS.get(path.suffix, open)
    try:
        with opener(path, "rb") as stream:
            data: bytes = stream.read(LIMIT_BYTES + 1)
    except (lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as problem:
        raise UsageError(f"cannot decompress the module {path.name}: {problem}") from problem
    except OSError as problem:
        raise UsageError(f"cannot read {path}: {problem.strerror}") from problem
    if len(data) > LIMIT_BYTES:
        raise UsageError(f"cannot take {path.name}: it is larger than {LIMIT_BYTES >> 20} MiB")
    return data


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_ZSTD_HEADER_BYTES)
    except OSError as problem:
        raise UsageError(f"cannot read {path}: {problem.strerror}") from problem


def _zstd(paths: Sequence[Path]) -> Iterator[bytes]:
    """Yield what is in files that zstd has compressed: it writes them one after the other, each of its stated size."""
    if not paths:
        return
    sizes = [frame_bytes(_beginning(path)) for path in paths]
    expected = sum(size for size in sizes if size is not None)
    data = _zstd_output([path.resolve() for path in paths], min(LIMIT_BYTES, expected or LIMIT_BYTES))
    if sizes == [None]:
        sizes = [len(data)]
    elif len(data) != expected:
        raise _damaged(paths, "it is not of the size that it states")
    at = 0
    for size in sizes:
        yield data[at : at + (size or 0)]
        at += size or 0


def _zstd_output(paths: Sequence[Path], limit_bytes: int) -> bytes:
    argv = confined_argv(["zstd", "-dcq", "--", *map(str, paths)], Reach(tuple(map(str, paths))))
    with (
        tempfile.TemporaryFile() as complaints,  # a pipe that nobody reads meanwhile could be full
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints) as process,
    ):
        if process.stdout is None:
            raise AssertionError("it is a pipe")
        data = process.stdout.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            process.kill()
            raise _damaged(paths, f"it is larger than {limit_bytes} bytes")
        process.wait()
        complaints.seek(0)
        complaint = complaints.read(4096).decode(errors="replace").strip()
    if process.returncode == NOT_FOUND:
        raise HostError("cannot decompress modules: there is no zstd", hint="apt install zstd")
    if process.returncode:
        raise _damaged(paths, complaint.splitlines()[-1] if complaint else "zstd failed")
    return data


def _damaged(paths: Sequence[Path], reason: str) -> UsageError:
    names = paths[0].name if len(paths) == 1 else f"{paths[0].name} … {paths[-1].name}"
    return UsageError(f"cannot decompress the modules {names}: {reason}")
