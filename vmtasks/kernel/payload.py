"""What of a kernel goes into an image: one archive, the same bytes for the same kernel wherever it came from."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

from vmtasks.kernel.compressed import contents
from vmtasks.kernel.tree import KernelTree

_ORDER = "modules.order"
_LEVEL = 1  # the archive is read again at each start, and unpacked once: small is good, quick is better


def write_payload(tree: KernelTree, archive: Path) -> None:
    """Write a kernel as ``boot/`` and ``lib/modules/RELEASE/``, with modules that are not compressed.

    There are no directories in it: those of the image it is laid over stay as they are, links among them.

    :raise UsageError: a module is damaged.
    :raise HostError: a program is missing.
    :raise OSError: something cannot be read, or the disk is full.
    """
    release = tree.header.release
    modules = {_plain(path): source for path, source in tree.modules.items()}
    files = {f"boot/vmlinuz-{release}": tree.image}
    files |= {f"boot/config-{release}": tree.config} if tree.config else {}
    files |= {f"lib/modules/{release}/{path}": source for path, source in sorted(modules.items())}
    with (
        archive.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in zip(files, contents(list(files.values())), strict=True):
            _add(tar, name, content)
        if _ORDER not in modules:  # the directory is there in any case, and depmod asks for this
            order = "".join(f"{path}\n" for path in modules if path.endswith(".ko"))
            _add(tar, f"lib/modules/{release}/{_ORDER}", order.encode())


def _plain(path: str) -> str:
    head, suffix, _ = path.rpartition(".ko.")
    return f"{head}.ko" if suffix else path


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
