"""A kernel from all that it comes in: each part fetched if need be, unpacked, and put beside the others."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from vmtasks import events
from vmtasks.errors import HostError, UsageError
from vmtasks.files import durable
from vmtasks.image.download import download
from vmtasks.kernel.debian_package import KernelPackage
from vmtasks.kernel.origin import KernelUrl, Source
from vmtasks.kernel.tree import KernelTree, kernel_in
from vmtasks.kernel.unpack import top_of, unpack_kernel

KernelSource = Source | KernelPackage
UNPACKED = "unpacked"
"""What the directory is called that has it."""


def unpacked(sources: Sequence[KernelSource], room: Path, name: str) -> KernelTree:
    """Fetch what a kernel comes in, unpack it below a directory, and return the one kernel in it.

    :param name: what a message calls it.
    :raise UsageError: it is damaged, there is no kernel in it, or more than one.
    :raise HostError: the network failed, or what came is not what was meant.
    :raise OSError: the disk failed.
    """
    target, one = room / UNPACKED, room / "one"
    target.mkdir()
    for source in sources:
        if isinstance(source, KernelUrl):
            fetched = room / "fetched"
            _fetch(source, fetched)
            unpack_kernel(fetched, one, str(source))
            fetched.unlink()
        elif isinstance(source, KernelPackage):
            fetched = room / "fetched"
            fetched.mkdir()
            unpack_kernel(source.fetch(fetched), one, str(source))
            shutil.rmtree(fetched)
        else:
            unpack_kernel(source.path, one, str(source))
        _put_beside(one, target, str(source))
    return kernel_in(top_of(target), name, is_own=False)


def _put_beside(one: Path, target: Path, name: str) -> None:
    """Move what has come out of one package to what has come out of others.

    :raise UsageError: two have one file, with different contents: two builds of a kernel make none.
    """
    for path in sorted(one.rglob("*"), key=lambda path: len(path.parts)):
        place = target / path.relative_to(one)
        if path.is_dir() and not path.is_symlink():
            place.mkdir(parents=True, exist_ok=True)
        elif not os.path.lexists(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            durable.rename(path, place, lasting=False)
        elif path.is_symlink() or not place.is_file() or not filecmp.cmp(path, place, shallow=False):
            raise UsageError(
                f"cannot make one kernel of several packages: {name} has another {path.relative_to(one)} than the ones "
                "before it",
                hint="name the packages of one build alone",
            )
    shutil.rmtree(one, ignore_errors=True)


def _fetch(source: KernelUrl, target: Path) -> None:
    events.emit(events.Note(text=f"fetching the kernel {source}"))
    try:
        found = download(source.url, target, detail="fetching the kernel")
    except ValueError as problem:
        raise UsageError(f"cannot fetch the kernel {source}: that is no URL") from problem
    if found != source.sha256:
        raise HostError(
            f"cannot use the kernel {source}: its sha256 is {found}, and {source.sha256} was asked for",
            hint="if a new version is what you want, put its sum behind the #",
        )
