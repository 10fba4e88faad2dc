"""A kernel, fetched and unpacked once and kept by its content.

::

    CACHE/kernels/KEY/
        kernel.tar.gz       what of it goes into an image
        kernel.json         what it is, and what tells a damaged archive
        in-use              when it last served
    CACHE/kernels/KEY.lock  locked by the process that unpacks it

KEY is a hash over what the kernel comes in: the sums of its files, or of a directory the names, sizes and times of the
files in it that count.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from vmtasks import events
from vmtasks.cache.digest import damage_of, digests_of
from vmtasks.cache.entry import CacheEntry, exclusive, incomplete
from vmtasks.cache.unused import prune_unused
from vmtasks.config.paths import cache_dir
from vmtasks.errors import HostError, UsageError
from vmtasks.files import durable, typed_json
from vmtasks.files.checksum import sha256_of
from vmtasks.image.download import download
from vmtasks.image.spared import SPARED_S
from vmtasks.kernel.drivers import missing_drivers
from vmtasks.kernel.origin import KernelFile, KernelUrl, Source, sources_of, without_sums
from vmtasks.kernel.payload import write_payload
from vmtasks.kernel.tree import KernelTree, has_image, kernel_in
from vmtasks.kernel.unpack import top_of, unpack_kernel

PAYLOAD = "kernel.tar.gz"
_FORMAT = "1"
"""Part of each key: raise it when the same kernel is unpacked into something else."""
_MANIFEST = "kernel.json"
_UNPACKED = "unpacked"
_SHAPE = {
    "release": str, "version": str, "architecture": str, "modules": int, "missing": ([str], None), "sha256": str,
    "payload_bytes": int, "digests": {PAYLOAD: {"bytes": int, "samples": [int], "crc32": int, "sha256": str}},
}  # fmt: skip
_PACKAGES = ("*.deb", "*.rpm")


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFacts:
    """What a kernel is, as its manifest has it."""

    release: str
    """What ``uname -r`` prints under it: from its image, and its modules agree."""
    version: str
    """What ``uname -v`` prints under it."""
    architecture: str
    """Debian's name for it; empty where an old one does not tell."""
    modules: int
    """How many it has."""
    missing: tuple[str, ...] | None
    """Which drivers of a machine it lacks; None if nothing with it tells."""
    sha256: str
    """The sum of its payload: the same for the same kernel, whatever it came in."""
    payload_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel that is kept."""

    directory: Path
    facts: KernelFacts

    @property
    def release(self) -> str:
        """What ``uname -r`` prints under it."""
        return self.facts.release

    @property
    def version(self) -> str:
        """What ``uname -v`` prints under it."""
        return self.facts.version

    @property
    def payload(self) -> Path:
        """The archive that is laid over an image: ``boot/`` and ``lib/modules/RELEASE/``."""
        return self.directory / PAYLOAD

    @classmethod
    def get(cls, name: str) -> Self:
        """Return the kernel that files, a directory or addresses hold, after fetching and unpacking it if need be.

        :param name: as ``--kernel`` has it, but not the name of a Debian package.
        :raise UsageError: one is not there or damaged, there is no kernel in them, or more than one.
        :raise HostError: the network or the disk failed, or what came is not what was meant.
        """
        sources = _expanded(sources_of(name), name)
        try:
            built = _directory_of(sources)
            tree = kernel_in(built, str(built), is_own=True) if built else None
            key = _key(_stamps(tree) if tree else sorted(map(_sum_of, sources)))
        except OSError as problem:
            raise UsageError(f"cannot read the kernel {name}: {problem.strerror or problem}") from problem
        directory = kernels_dir() / key
        with exclusive(directory.with_name(f"{key}.lock"), other="the unpacking of that kernel"):
            facts = _facts(directory) or _made(directory, tree, sources, without_sums(name))
        CacheEntry(directory=directory).touch()
        return cls(directory=directory, facts=facts)


def kernels_dir() -> Path:
    """Return the directory of the kernels that are kept, which need not exist."""
    return cache_dir() / "kernels"


def kept_kernels() -> tuple[CacheEntry, ...]:
    """Return the kernels that are kept."""
    return tuple(CacheEntry(directory=path) for path in sorted(kernels_dir().glob("[0-9a-f]*[0-9a-f]/")))


def condemn(kept: CacheEntry) -> str:
    """Read all of a kernel, remove it if it is damaged, and return what is wrong with it; nothing if it is whole."""
    _, reason = _look(kept.directory, completely=True)
    if reason:
        kept.drop()
    return reason


def prune(*, everything: bool = False) -> int:
    """Remove the kernels that have not served for a week, and return how many bytes that has freed.

    :param everything: remove the others as well.
    """
    return prune_unused(kernels_dir(), spared_s=0 if everything else SPARED_S)


def _expanded(sources: Sequence[Source], name: str) -> tuple[Source, ...]:
    """Return the sources with the packages of a directory in its place, unless there is a kernel in it itself."""
    if not sources:
        raise UsageError(
            f"cannot take the kernel {name} apart here: a Debian package by its name is installed in an image",
            hint="`apt-get download` fetches its file",
        )
    found: list[Source] = []
    for source in sources:
        if isinstance(source, KernelFile) and source.path.is_dir() and not has_image(source.path):
            here = source.path.resolve()
            beneath = (path for pattern in _PACKAGES for path in source.path.glob(pattern))
            packages = sorted(path for path in beneath if path.resolve().is_relative_to(here))
            if not packages:
                raise UsageError(
                    f"{source.path} has no kernel",
                    hint="a built tree (arch/x86/boot/bzImage), an unpacked package (boot/vmlinuz-RELEASE) or a "
                    "directory of .deb or .rpm files is wanted",
                )
            found += (KernelFile(path=path) for path in packages)
        else:
            found.append(source)
    if len(found) > 1 and any(isinstance(one, KernelFile) and one.path.is_dir() for one in found):
        raise UsageError(f"cannot make one kernel of {name}: a directory with a kernel in it stands alone")
    return tuple(found)


def _directory_of(sources: Sequence[Source]) -> Path | None:
    (first, *more) = sources
    return first.path if not more and isinstance(first, KernelFile) and first.path.is_dir() else None


def _sum_of(source: Source) -> str:
    if isinstance(source, KernelUrl):
        return source.sha256
    try:
        return sha256_of(source.path)
    except OSError as problem:
        raise UsageError(f"cannot read the kernel {source}: {problem.strerror}") from problem


def _stamps(tree: KernelTree) -> list[str]:
    """Return what stands for the content of a directory, which would be too much to read at each start."""
    files = {"image": tree.image, "config": tree.config, **tree.modules}
    stamps = ["directory"]
    for name, path in files.items():
        if path is not None:
            status = path.stat()
            stamps.append(f"{name} {path.resolve()} {status.st_size} {status.st_mtime_ns} {status.st_ino}")
    return stamps


def _key(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join((_FORMAT, *parts)).encode(errors="surrogateescape")).hexdigest()


def _facts(directory: Path) -> KernelFacts | None:
    """Return what is kept in a directory, if it is there and whole, as far as a look at parts of it tells."""
    facts, reason = _look(directory)
    if reason and directory.exists():
        text = f"a kernel that was kept is damaged: {reason}; it is unpacked anew"
        events.emit(events.Note(text=text, level="warning"))
    return facts


def _look(directory: Path, *, completely: bool = False) -> tuple[KernelFacts | None, str]:
    """Return what is kept in a directory, and None and what is wrong with it if it is not whole."""
    manifest = typed_json.read(directory / _MANIFEST, _SHAPE)
    if manifest is None:
        return None, f"{_MANIFEST} is missing, or makes no sense"
    if reason := damage_of(directory, manifest["digests"], completely=completely):
        return None, reason
    known = {one.name: manifest[one.name] for one in fields(KernelFacts)}
    missing = manifest["missing"]
    return KernelFacts(**{**known, "missing": None if missing is None else tuple(missing)}), ""


def _made(directory: Path, tree: KernelTree | None, sources: Sequence[Source], name: str) -> KernelFacts:
    CacheEntry(directory=directory).drop()  # what is there is damaged
    beside = directory.with_name(f".{directory.name}.{os.getpid()}.part")
    with incomplete(beside):
        try:
            tree = tree or _unpacked(sources, beside, name)
            facts = _written(tree, beside)
            about = {**asdict(facts), "digests": digests_of(beside, [PAYLOAD])}
            (beside / _MANIFEST).write_text(json.dumps(about, indent=1) + "\n")
            shutil.rmtree(beside / _UNPACKED, ignore_errors=True)
            durable.rename(beside, directory)
        except OSError as problem:
            raise HostError(f"cannot keep a kernel in {kernels_dir()}: {problem.strerror or problem}") from problem
    return facts


def _unpacked(sources: Sequence[Source], room: Path, name: str) -> KernelTree:
    target, one = room / _UNPACKED, room / "one"
    target.mkdir()
    for source in sources:
        if isinstance(source, KernelUrl):
            fetched = room / "fetched"
            _fetch(source, fetched)
            unpack_kernel(fetched, one, str(source))
            fetched.unlink()
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


def _written(tree: KernelTree, room: Path) -> KernelFacts:
    archive = room / PAYLOAD
    write_payload(tree, archive)
    sha256 = sha256_of(archive)
    paths = tree.module_paths
    return KernelFacts(
        release=tree.header.release,
        version=tree.header.version,
        architecture=tree.header.architecture,
        modules=len(paths),
        missing=missing_drivers(paths, tree.text(tree.modules.get("modules.builtin")), tree.text(tree.config)),
        sha256=sha256,
        payload_bytes=archive.stat().st_size,
    )
