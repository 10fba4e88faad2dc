"""A kernel, fetched and unpacked once and kept by its content.

::

    CACHE/kernels/KEY/
        kernel.tar.gz       what of it goes into an image
        vmlinuz             the image that QEMU boots
        initrd              the initrd that came with it, if one did
        kernel.json         what it is, and what tells a damaged file
        in-use              when it last served
    CACHE/kernels/KEY.lock  locked by the process that unpacks it

:mod:`vmtasks.kernel.key` says what KEY is.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Self

from vmtasks import events
from vmtasks.cache.digest import damage_of, digests_of
from vmtasks.cache.entry import CacheEntry, exclusive, incomplete
from vmtasks.cache.unused import prune_unused
from vmtasks.config.paths import cache_dir
from vmtasks.errors import HostError, UsageError
from vmtasks.files import durable, typed_json
from vmtasks.files.checksum import sha256_of
from vmtasks.image.spared import SPARED_S
from vmtasks.kernel.assembled import UNPACKED, KernelSource, unpacked
from vmtasks.kernel.debian_package import KernelPackage
from vmtasks.kernel.drivers import missing_drivers
from vmtasks.kernel.key import key_of
from vmtasks.kernel.origin import KernelFile, sources_of, without_sums
from vmtasks.kernel.payload import write_payload
from vmtasks.kernel.tree import KernelTree, has_image, kernel_in

PAYLOAD = "kernel.tar.gz"
_MANIFEST = "kernel.json"
_IMAGE, _INITRD = "vmlinuz", "initrd"
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

    @property
    def image(self) -> Path:
        """The image alone, as QEMU's ``-kernel`` has it; it is the cache's, which nobody writes to."""
        return self.directory / _IMAGE

    @property
    def initrd(self) -> Path | None:
        """The initrd that came with it; None if none did, as none does in Debian's packages."""
        path = self.directory / _INITRD
        return path if path.is_file() else None

    def extract(self, directory: Path | str) -> Path:
        """Unpack it into a directory of this host, without installing it, and return that.

        ``boot/vmlinuz-RELEASE`` and ``lib/modules/RELEASE`` are there then, and ``boot/initrd.img-RELEASE`` if one came
        with it. Modules are not compressed, and there is no ``modules.dep``: ``depmod -b DIRECTORY RELEASE`` makes it.

        :raise UsageError: the directory cannot be written.
        """
        target = Path(directory)
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tarfile.open(self.payload) as archive:
                archive.extractall(target, filter="data")
            if self.initrd:
                shutil.copyfile(self.initrd, target / f"boot/initrd.img-{self.release}")
        except OSError as problem:
            reason = problem.strerror or problem
            raise UsageError(f"cannot unpack the kernel {self.release} into {target}: {reason}") from problem
        return target

    @classmethod
    def get(cls, source: str | Path | IO[bytes]) -> Self:
        """Return the kernel that something holds, after fetching and unpacking it if need be.

        :param source: as ``--kernel`` has it: a path, an address with its sum, several with commas, or the name of a
            Debian package, whose file this host's apt fetches; or a file that is open for reading bytes.
        :raise UsageError: one is not there or damaged, there is no kernel in them, or more than one.
        :raise HostError: the network or the disk failed, or what came is not what was meant.
        """
        if isinstance(source, str):
            return cls._get(_expanded(sources_of(source), source), source)
        if isinstance(source, Path):
            return cls._get(_expanded([KernelFile(path=source)], str(source)), str(source))
        with ExitStack() as stack:
            path = stack.enter_context(_copied(source))
            return cls._get((KernelFile(path=Path(path.name)),), str(getattr(source, "name", "the open file")))

    @classmethod
    def _get(cls, sources: Sequence[KernelSource], name: str) -> Self:
        try:
            built = _directory_of(sources)
            tree = kernel_in(built, str(built), is_own=True) if built else None
            key = key_of(sources, tree)
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


def _copied(file: IO[bytes]) -> IO[bytes]:
    """Return a file of ours with the rest of an open one: it may be a pipe.

    :raise UsageError: it cannot be read, or not as bytes.
    """
    copy = tempfile.NamedTemporaryFile(prefix="vmtasks-kernel-")  # noqa: SIM115 - the caller closes it
    try:
        shutil.copyfileobj(file, copy)
        copy.flush()
    except (TypeError, OSError, ValueError) as problem:
        copy.close()
        raise UsageError(
            f"cannot read the kernel {getattr(file, 'name', 'from the open file')}: {problem}",
            hint='it must be open for reading bytes: open(FILE, "rb")',
        ) from problem
    return copy


def _expanded(sources: Sequence[KernelSource], name: str) -> tuple[KernelSource, ...]:
    """Return the sources with the packages of a directory in its place, unless there is a kernel in it itself."""
    if not sources:
        return (KernelPackage.find(name),)
    found: list[KernelSource] = []
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


def _directory_of(sources: Sequence[KernelSource]) -> Path | None:
    (first, *more) = sources
    return first.path if not more and isinstance(first, KernelFile) and first.path.is_dir() else None


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


def _made(directory: Path, tree: KernelTree | None, sources: Sequence[KernelSource], name: str) -> KernelFacts:
    CacheEntry(directory=directory).drop()  # what is there is damaged
    beside = directory.with_name(f".{directory.name}.{os.getpid()}.part")
    with incomplete(beside):
        try:
            tree = tree or unpacked(sources, beside, name)
            facts = _written(tree, beside)
            kept = [name for name in (PAYLOAD, _IMAGE, _INITRD) if (beside / name).is_file()]
            about = {**asdict(facts), "digests": digests_of(beside, kept)}
            (beside / _MANIFEST).write_text(json.dumps(about, indent=1) + "\n")
            shutil.rmtree(beside / UNPACKED, ignore_errors=True)
            durable.rename(beside, directory)
        except OSError as problem:
            raise HostError(f"cannot keep a kernel in {kernels_dir()}: {problem.strerror or problem}") from problem
    return facts


def _written(tree: KernelTree, room: Path) -> KernelFacts:
    archive = room / PAYLOAD
    write_payload(tree, archive)
    shutil.copyfile(tree.image, room / _IMAGE)
    if tree.initrd:
        shutil.copyfile(tree.initrd, room / _INITRD)
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
