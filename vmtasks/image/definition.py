"""What an image is made of: ``images/NAME.toml`` as data."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from vmtasks.config import toml
from vmtasks.config.here import task_line
from vmtasks.config.paths import expanded, image_dirs
from vmtasks.errors import UsageError, did_you_mean
from vmtasks.spec import Architecture, Network

_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,99}")
INHERITED = (
    "architecture", "mirror", "initrd", "modules", "kernel_options", "disk_gib", "memory_mib", "cpus", "network",
    "ec2",
)  # fmt: skip
"""What a layer takes over from the image that it stands on, unless it sets its own."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SUITE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9._~+/-]*|/")
_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/-]*")
_URI = re.compile(r"https?://[!-~]+")  # apt knows more, and a guest reaches no file: of this host
_UNITS = ("etc", "systemd", "system")
_PINS = range(-32768, 32768)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to put into the image."""

    path: str = field(metadata={"says": "absolute path in the guest"})
    content: str | None = field(default=None, metadata={"says": "the file's text"})
    source: str | None = field(default=None, metadata={"says": "a file beside the definition"})
    mode: str = field(default="0644", metadata={"says": "permissions in octal"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command that finishes the image."""

    run: str = field(metadata={"says": "a shell script"})
    where: Literal["chroot", "guest"] = field(default="chroot", metadata={"says": "natively, or in the booted guest"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """One more source of packages, beside the release and its pockets."""

    suite: str = field(metadata={"says": "a suite, or a directory that ends with /"})
    uri: str = field(default="", metadata={"says": "where it is; by default where the image has Debian's archive from"})
    components: tuple[str, ...] = field(default=("main",), metadata={"says": "components of it"})
    key: str | None = field(default=None, metadata={"says": "a file beside the definition: the key that signs it"})
    pin: int | None = field(default=None, metadata={"says": "the priority of its packages, see apt_preferences(5)"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ec2Image:
    """What stands for the image on Amazon EC2: a machine image of somebody's, and what it runs on there."""

    ami: str = field(default="", metadata={"says": "the id of an AMI"})
    owner: str = field(default="", metadata={"says": "the account that the AMI belongs to"})
    name: str = field(default="", metadata={"says": "a pattern of the AMI's name; the newest counts"})
    instance_type: str = field(default="t3.medium", metadata={"says": "what it runs on"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One image. Exactly one of *suite*, *from_*, *path* and *url* names what it is made from."""

    name: str = field(metadata={"key": None})
    home: Path = field(metadata={"key": None})
    """The file that all this is read from."""
    parent: Definition | None = field(default=None, metadata={"key": None})
    """The image that ``from`` names."""
    description: str = field(default="", metadata={"says": "one line"})

    suite: str | None = field(default=None, metadata={"says": "a Debian suite"})
    from_: str | None = field(default=None, metadata={"says": "the name of another image"})
    path: str | None = field(default=None, metadata={"says": "a qcow2 or raw image"})
    url: str | None = field(default=None, metadata={"says": "where a qcow2 or raw image is"})
    sha256: str | None = field(default=None, metadata={"says": "64 hexadecimal digits"})

    architecture: Architecture = field(default="amd64", metadata={"says": "Debian's name for it"})
    mirror: str = field(default="", metadata={"says": "URL of a Debian mirror"})
    components: tuple[str, ...] = field(default=("main",), metadata={"says": "components of Debian's archive"})
    repositories: tuple[Repository, ...] = ()
    boot_packages: tuple[str, ...] = field(default=(), metadata={"says": "Debian packages that make it boot"})
    packages: tuple[str, ...] = field(default=(), metadata={"says": "Debian packages"})
    tree: str | None = field(default=None, metadata={"says": "a directory, beside the definition, to lay over /"})
    files: tuple[File, ...] = ()
    steps: tuple[Step, ...] = ()
    boot_loader: Literal["none", "grub"] = field(
        default="none", metadata={"says": "whether it boots directly, or by a boot loader from a partitioned disk"}
    )
    initrd: Literal["lean", "stock"] = field(default="lean", metadata={"says": "which initrd to boot with"})
    modules: tuple[str, ...] = field(
        default=("virtio_pci", "virtio_blk", "virtio_net"), metadata={"says": "kernel modules of the lean initrd"}
    )
    kernel_options: str = field(default="", metadata={"says": "more for the kernel's command line"})
    disk_gib: int = field(default=20, metadata={"says": "size of the disk in GiB", "at_least": 1})
    memory_mib: int = field(default=1024, metadata={"says": "memory of a machine in MiB", "at_least": 64})
    cpus: int = field(default=2, metadata={"says": "virtual processors", "at_least": 1})
    network: Network = field(default="user", metadata={"says": "what the guest reaches"})
    ec2: Ec2Image | None = None

    @property
    def root_device(self) -> str:
        """What the root file system is on, as a guest of it has that, before its own boot loader boots it."""
        return "/dev/vda1" if self.boot_loader == "grub" else "/dev/vda"

    @property
    def lineage(self) -> tuple[Definition, ...]:
        """The image with its ancestors, the oldest first."""
        return (*(self.parent.lineage if self.parent else ()), self)

    @property
    def listed_name(self) -> str:
        """The name by which it can be found: that of the nearest image of its lineage that a file defines."""
        return next(one.name for one in reversed(self.lineage) if one.home.stem == one.name)

    @property
    def original(self) -> Path | None:
        """The disk image that *path* names: relative to the definition, or in somebody's home."""
        return self.home.parent / expanded(self.path) if self.path is not None else None

    def content(self) -> dict[str, Any]:
        """Return the keys that make it another image; the others make another machine of it."""
        fields = asdict(self)
        for other in ("home", "description", "parent", "memory_mib", "cpus", "network", "kernel_options", "ec2"):
            del fields[other]
        if self.boot_loader == "none":  # images keep the content keys that they had before there was one
            del fields["boot_loader"]
        return fields

    def sources(self) -> tuple[Path, ...]:
        """Return every file that goes into the image, besides the definition itself, in a fixed order."""
        beside = self.home.parent
        named = [beside / file.source for file in self.files if file.source]
        named += [beside / repository.key for repository in self.repositories if repository.key]
        return (*named, *overlay_files(beside / self.tree)) if self.tree else tuple(named)


def overlay_files(tree: Path) -> tuple[Path, ...]:
    """Return what of a directory is laid over ``/``, in a fixed order: files and links, as git has them."""
    return tuple(sorted(path for path in tree.rglob("*") if path.is_symlink() or not path.is_dir()))


def link_of(path: Path) -> str | None:
    """Return where a file that goes into an image leads, if it is a link.

    A unit of systemd's that is empty counts as a link to /dev/null: both are masked (systemd.unit(5)), and a wheel, in
    which there are no links, has the one for the other. So an image has one key and content wherever it is baked from.
    """
    if path.is_symlink():
        return str(path.readlink())
    is_masked = path.parent.parts[-3:] == _UNITS and path.stat().st_size == 0
    return "/dev/null" if is_masked else None


def overlay_links(tree: Path) -> dict[str, str]:
    """Return what in a directory that is laid over ``/`` is a link, by its path there, and where each leads."""
    links = ((path, link_of(path)) for path in overlay_files(tree))
    return {str(path.relative_to(tree)): target for path, target in links if target is not None}


def find(name: str, environ: Mapping[str, str] = os.environ, *, above: tuple[str, ...] = ()) -> Definition:
    """Return the definition of the image *name*, with its ancestors.

    :param above: the names of the layers that stand on it.
    :raise UsageError: there is none (the nearest name is told), or its file is not right.
    """
    if name in above:
        raise UsageError(f"image '{name}' stands on itself: {' -> '.join((*above, name))}")
    for directory in image_dirs(environ):
        path = directory / f"{name}.toml"
        if _NAME.fullmatch(name) and path.is_file():
            return read(path, environ, above=above)
    known = names(environ)
    remedy = did_you_mean(name, known, otherwise="known are " + ", ".join(known))
    raise UsageError(f"there is no image '{name[:100]}'; {remedy}", hint=f"{task_line('images.list')} shows them all")


def names(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the names of all images that are defined, in order."""
    found = {path.stem for directory in image_dirs(environ) for path in directory.glob("*.toml")}
    return tuple(sorted(name for name in found if _NAME.fullmatch(name)))


def read(path: Path, environ: Mapping[str, str] = os.environ, *, above: tuple[str, ...] = ()) -> Definition:
    """Read one definition, and those that it stands on.

    :raise UsageError: a key is unknown, missing or mistyped, or the keys contradict each other.
    """
    table = toml.read(path)
    beneath = Definition(name=path.stem, home=path)
    if isinstance(table.get("from"), str):
        parent = find(table["from"], environ, above=(*above, path.stem))
        beneath = replace(beneath, parent=parent, **{key: getattr(parent, key) for key in INHERITED})
    definition = toml.parse(Definition, table, where=str(path), over=beneath)
    _check(definition)
    return definition


def _check(definition: Definition) -> None:
    where = definition.home
    given = [key for key in ("suite", "from_", "path", "url") if getattr(definition, key) is not None]
    if len(given) != 1:
        found = " and ".join(f"'{key.rstrip('_')}'" for key in given) or "none"
        raise UsageError(f"{where}: exactly one of 'suite', 'from', 'path' and 'url' is needed, and {found} is given")
    if definition.url is not None and definition.sha256 is None:
        raise UsageError(f"{where}: 'url' needs 'sha256', so that what comes is what you meant")
    if definition.sha256 is not None and not _SHA256.fullmatch(definition.sha256):
        raise UsageError(f"{where}: key 'sha256' must be 64 hexadecimal digits in lower case")
    _check_architecture(definition)
    if definition.boot_loader != "none" and any(one.suite is None and one.from_ is None for one in definition.lineage):
        raise UsageError(f"{where}: 'boot_loader' is for what is made from a Debian suite; a disk image brings its own")
    _check_archives(definition)
    for file in definition.files:
        _check_file(f"{where}: [[files]] {file.path}", file)
    for path in (*definition.sources(), *([where.parent / definition.tree] if definition.tree else [])):
        if not path.exists() and not path.is_symlink():
            raise UsageError(f"{where}: {path} is not there")


def _check_architecture(definition: Definition) -> None:
    where = definition.home
    if definition.boot_loader != "none" and definition.architecture not in ("amd64", "i386"):
        raise UsageError(f"{where}: 'boot_loader' is for amd64 and i386, and it is {definition.architecture}")
    is_disk_image = any(one.path is not None or one.url is not None for one in definition.lineage)
    if definition.architecture == "arm64" and is_disk_image:
        raise UsageError(
            f"{where}: a disk image boots through the BIOS, which machines for arm64 do not have: use a 'suite'"
        )
    if definition.parent is not None and definition.architecture != definition.parent.architecture:
        raise UsageError(
            f"{where}: 'architecture' cannot be {definition.architecture}: the image stands on "
            f"'{definition.parent.name}', which is {definition.parent.architecture}; without the key, so is this one"
        )


def _check_file(where: str, file: File) -> None:
    if (file.content is None) == (file.source is None):
        raise UsageError(f"{where}: exactly one of 'content' and 'source' is needed")
    if not file.path.startswith("/") or ".." in Path(file.path).parts:
        raise UsageError(f"{where}: the path must be absolute, without '..'")
    if not re.fullmatch(r"[0-7]{3,4}", file.mode):
        raise UsageError(f'{where}: mode must be octal, like "0644"')


def _check_archives(definition: Definition) -> None:
    where = definition.home
    if definition.components != ("main",) and definition.suite is None:
        raise UsageError(
            f"{where}: key 'components' belongs to a 'suite'; a layer takes more of Debian's archive with "
            '[[repositories]], like suite = "bookworm" and components = ["contrib"]'
        )
    _check_components(f"{where}: key 'components'", definition.components)
    for repository in definition.repositories:
        _check_repository(f"{where}: [[repositories]] {repository.suite}", repository)


def _check_repository(where: str, repository: Repository) -> None:
    if not _SUITE.fullmatch(repository.suite):
        raise UsageError(f"{where}: that is no name of a suite")
    if repository.uri and not _URI.fullmatch(repository.uri):
        raise UsageError(f"{where}: uri must begin with http:// or https://")
    if repository.uri and repository.key is None:
        raise UsageError(
            f"{where}: 'uri' needs 'key', a file beside the definition with the key that signs what is there"
        )
    if repository.key is not None and not repository.uri:
        raise UsageError(f"{where}: 'key' needs 'uri': Debian's own keys are in the image")
    if repository.pin is not None and (repository.pin == 0 or repository.pin not in _PINS):
        raise UsageError(f"{where}: pin must be a priority of apt_preferences(5), like 100, 500 or 990")
    if not repository.suite.endswith("/"):
        _check_components(f"{where}: key 'components'", repository.components)


def _check_components(where: str, components: tuple[str, ...]) -> None:
    if not components or not all(_COMPONENT.fullmatch(component) for component in components):
        raise UsageError(f'{where} must be names of components, like ["main", "contrib"]')
