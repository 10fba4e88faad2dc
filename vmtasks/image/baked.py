"""Where baked images are kept, and how one is known to be what its definition describes.

::

    CACHE/images/NAME-KEY-SERIAL/       one bake; renamed into place when it is complete, never written again
        disk.qcow2                      the base disk
        vmlinuz, initrd                 booted directly, where the image has a kernel of its own
        root.tar.zst                    the tree, for layers to start from, where it was made natively
        id_ed25519, known_hosts         how to get in, and the host key to expect there
        manifest.json                   what is in it
        in-use                          locked (shared) by every machine that stands on it
        layers                          the disks elsewhere that stand on it, as long as they are there
    CACHE/images/NAME.lock              locked by the process that bakes NAME

KEY is a hash over the definition, the files it names, and its ancestors; so a changed definition is another
image, and nothing ever overwrites a disk that a machine runs from.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmtasks.cache.entry import CacheEntry, exclusive
from vmtasks.cache.entry import sweep as sweep_parts
from vmtasks.config.paths import cache_dir
from vmtasks.errors import HostError, UsageError
from vmtasks.files import typed_json
from vmtasks.files.typed_json import SECONDS
from vmtasks.image.definition import Definition, find, link_of, names
from vmtasks.image.spared import spared
from vmtasks.spec import Access

RECIPE_VERSION = 2  # 2: a bake records which pockets it has, and none is missing without a warning
"""Part of every key: raise it when the same definition is baked into something else."""
_LAYERS = "layers"
"""A file with the names of disks elsewhere that stand on a bake."""
_SHAPE = {
    "name": str, "key": str, "parent": (str, None), "baked_s": SECONDS, "kernel?": bool, "disk_bytes?": int,
    "pockets?": {"*": {"uri?": str}},
}  # fmt: skip
_SERIAL = re.compile(r"[a-z0-9].*-[0-9a-f]{16}-[0-9a-f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BakedImage(CacheEntry):
    """A complete bake."""

    manifest: Mapping[str, Any]

    @property
    def kernel(self) -> Path | None:
        """The kernel that is booted directly; None boots through the firmware."""
        path = self.directory / "vmlinuz"
        return path if self.manifest.get("kernel", path.exists()) else None

    @property
    def initrd(self) -> Path:
        """The initrd that belongs to the kernel."""
        return self.directory / "initrd"

    @property
    def tree(self) -> Path | None:
        """The root file system as a tar archive; None where it was finished in the booted guest."""
        path = self.directory / "root.tar.zst"
        return path if path.exists() else None

    @property
    def identity(self) -> Path:
        """The private ssh key that the guest lets in as root."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The guest's host key, as sshd(8) has such files, under the alias ``vmtasks``."""
        return self.directory / "known_hosts"

    @property
    def access(self) -> Access:
        """How to get into a guest that runs it."""
        return Access(identity=self.identity, known_hosts=self.known_hosts)

    def lay_under(self, disk: Path) -> None:
        """Note that a *disk* elsewhere stands on this one, for as long as there is such a file."""
        with (self.directory / _LAYERS).open("a") as file:
            file.write(f"{disk}\n")

    @property
    def is_laid_under(self) -> bool:
        """Whether a disk elsewhere stands on this one."""
        try:
            disks = (self.directory / _LAYERS).read_text().splitlines()
        except FileNotFoundError:
            return False
        return any(os.path.exists(disk) for disk in disks)  # noqa: PTH110 - a line may be anything

    @property
    def was_sent(self) -> bool:
        """Whether it was baked on another host, which alone knows how to get in: here it serves that host."""
        is_without_keys = not (self.identity.exists() or self.known_hosts.exists())
        return is_without_keys and "id_ed25519" in (self.manifest.get("digests") or {})

    @property
    def serial(self) -> str:
        """Which bake this is: two bakes of one key differ in it."""
        return self.directory.name

    @property
    def key(self) -> str:
        """The content key."""
        return str(self.manifest["key"])

    @property
    def archive(self) -> str:
        """Where it has Debian's archive from; empty where that is not known."""
        return str(self.manifest.get("pockets", {}).get("release", {}).get("uri", ""))

    @property
    def age_s(self) -> float:
        """Seconds since it was baked."""
        return max(0.0, time.time() - float(self.manifest["baked_s"]))


def key_of(image: Definition) -> str:
    """Return the content key of an image.

    :raise UsageError: a file that goes into the image cannot be read.
    """
    return keys_of(image)[-1]


def keys_of(image: Definition) -> tuple[str, ...]:
    """Return the content keys of an image and its ancestors, the first of them first; each file is read once.

    :raise UsageError: a file that goes into the image cannot be read.
    """
    keys = []
    digest = hashlib.sha256(f"vmtasks image {RECIPE_VERSION}\n".encode())
    for definition in image.lineage:
        digest.update(json.dumps(definition.content(), sort_keys=True).encode())
        for path in definition.sources():
            name = os.path.relpath(path, definition.home.parent)
            mode, content = _mode_and_content(path)
            digest.update(os.fsencode(f"\n{name} {mode:o} ") + content)
        if definition.original is not None and definition.sha256 is None:
            digest.update(_stamp(definition.original))
        keys.append(digest.hexdigest()[:16])  # of a digest that goes on: a child's has its parent's before it
    return tuple(keys)


def images_dir() -> Path:
    """Return the directory of baked images, which need not exist."""
    return cache_dir() / "images"


def find_baked(definition: Definition, keys: tuple[str, ...] = ()) -> BakedImage | None:
    """Return the newest bake that is what *definition* and its ancestors describe; None if there is none.

    A layer whose parent has been baked anew since counts as none: it stands on what is no longer there.

    :param keys: what :func:`keys_of` returns, where that is known already.
    """
    *above, key = keys or keys_of(definition)
    candidates = [baked for baked in _baked(definition.name) if baked.key == key and not baked.was_sent]
    newest = max(candidates, key=lambda baked: float(baked.manifest["baked_s"]), default=None)
    if newest and definition.parent:
        parent = find_baked(definition.parent, tuple(above))
        if parent is None or parent.serial != newest.manifest["parent"]:
            return None
    return newest


def read_baked(directory: Path) -> BakedImage:
    """Return the bake in a directory.

    :raise HostError: there is none any more.
    """
    if manifest := _manifest(directory / "manifest.json"):
        return BakedImage(directory=directory, manifest=manifest)
    raise HostError(f"there is no baked image in {directory} any more, or it is damaged")


def all_baked() -> tuple[BakedImage, ...]:
    """Return every complete bake, whatever its definition is today."""
    return tuple(_baked())


def prune(*, everything: bool = False) -> tuple[int, tuple[BakedImage, ...], tuple[str, ...]]:
    """Remove the bakes that are damaged or that no definition asks for any more, and what interrupted bakes left.

    :param everything: remove current ones as well, and those that served another definition of late.
    :return: the bytes freed; what had to stay because a machine stands on it, or a disk that somebody keeps; and the
        serials of what stays for another definition than those of today: another checkout's, say.
    """
    defined = set(names())
    current, others = set(), frozenset[str]()
    if not everything:
        bakes = {baked.serial: baked for baked in all_baked()}
        for name in {baked.manifest["name"] for baked in bakes.values()} & defined:
            if found := _current(name):
                current.add(found.serial)
        manifests = {serial: baked.manifest for serial, baked in bakes.items()}
        others = (
            spared(manifests, {serial: baked.used_s for serial, baked in bakes.items()}, now_s=time.time()) - current
        )
    freed_bytes, busy = 0, []
    for baked in on_disk():
        if baked.serial in current | others:
            continue
        size_bytes = baked.size_bytes
        if not baked.is_laid_under and baked.drop():
            freed_bytes += size_bytes
        else:
            busy.append(baked)
    sweep()
    return freed_bytes, tuple(busy), tuple(sorted(others))


def sweep() -> tuple[Path, ...]:
    """Remove what bakes that were killed have left beside the images, and return the directories that it was."""
    return sweep_parts(images_dir())


def bake_lock(name: str) -> AbstractContextManager[bool]:
    """Be the only one that bakes *name*; yield whether another process had to be waited for.

    :raise HostError: the cache cannot be written.
    """
    return exclusive(images_dir() / f"{name}.lock", other=f"another bake of {name}")


def _current(name: str) -> BakedImage | None:
    try:
        return find_baked(find(name))
    except UsageError:
        return None  # its definition is broken or stands on nothing: no bake is what it describes


def _baked(name: str = "") -> Iterator[BakedImage]:
    """Yield the complete bakes of *name*, or of every image; what is being made has a dot before its name."""
    for path in sorted(images_dir().glob(f"{name or '[!.]*'}-*/manifest.json")):
        manifest = _manifest(path)
        if manifest and name in ("", manifest["name"]):
            yield BakedImage(directory=path.parent, manifest=manifest)


def on_disk() -> Iterator[BakedImage]:
    """Yield every bake, damaged ones too: what no other program would have given such a name."""
    for path in sorted(images_dir().glob("[!.]*")):
        if _SERIAL.fullmatch(path.name) and path.is_dir():
            yield BakedImage(directory=path, manifest=_manifest(path / "manifest.json") or {})


def _manifest(path: Path) -> dict[str, Any] | None:
    manifest: dict[str, Any] | None = typed_json.read(path, _SHAPE)
    try:
        disk_bytes = path.with_name("disk.qcow2").stat().st_size
    except OSError:
        return None  # pruned this very moment, or damaged
    if manifest is None:
        return None
    manifest.setdefault("kernel", path.with_name("vmlinuz").exists())  # bakes of before 0.2 do not record it
    # To QEMU, a disk that was cut short has zeros there. (Its time would prove nothing: caches are copied.)
    return manifest if manifest.get("disk_bytes", disk_bytes) == disk_bytes else None


def _mode_and_content(path: Path) -> tuple[int, bytes]:
    """Return what git would have of a file: the umask of a checkout is nothing of the image's."""
    try:
        if (target := link_of(path)) is not None:
            return stat.S_IFLNK | 0o777, os.fsencode(target)
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            mode = stat.S_IFREG | (0o755 if mode & stat.S_IXUSR else 0o644)
        return mode, path.read_bytes()
    except OSError as problem:
        raise UsageError(f"cannot read {path}, which goes into an image: {problem.strerror}") from problem


def _stamp(path: Path) -> bytes:
    """Return what stands for the content of a disk image, which may be too large to be read each time."""
    try:
        status = path.stat()
    except OSError:
        return b""  # the bake reports it
    return f"\n{status.st_size} {status.st_mtime_ns}".encode()
