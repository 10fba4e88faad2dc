"""What a kept kernel is called by: a hash over what it comes in.

That is the sums of its files, or of a directory the names, sizes and times of the files in it that count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from vmtasks.errors import UsageError
from vmtasks.files.checksum import sha256_of
from vmtasks.kernel.assembled import KernelSource
from vmtasks.kernel.origin import KernelFile
from vmtasks.kernel.tree import KernelTree

_FORMAT = "2"
"""Part of each key: raise it when the same kernel is unpacked into something else."""


def key_of(sources: Sequence[KernelSource], tree: KernelTree | None) -> str:
    """Return the key of the kernel in *sources*, or in a built *tree*.

    :raise UsageError: a file cannot be read.
    :raise OSError: a file of the tree cannot be looked at.
    """
    parts = _stamps(tree) if tree else sorted(map(_sum_of, sources))
    return hashlib.sha256("\n".join((_FORMAT, *parts)).encode(errors="surrogateescape")).hexdigest()


def _sum_of(source: KernelSource) -> str:
    if not isinstance(source, KernelFile):
        return source.sha256
    try:
        return sha256_of(source.path)
    except OSError as problem:
        raise UsageError(f"cannot read the kernel {source}: {problem.strerror}") from problem


def _stamps(tree: KernelTree) -> list[str]:
    """Return what stands for the content of a directory, which would be too much to read at each start."""
    files = {"image": tree.image, "config": tree.config, "initrd": tree.initrd, **tree.modules}
    stamps = ["directory"]
    for name, path in files.items():
        if path is not None:
            status = path.stat()
            stamps.append(f"{name} {path.resolve()} {status.st_size} {status.st_mtime_ns} {status.st_ino}")
    return stamps
