"""What of a directory is a kernel's: one that was built in it, installed below it, or unpacked from a package."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from vmtasks.config.bounded import read_file
from vmtasks.config.paths import is_at
from vmtasks.errors import UsageError
from vmtasks.files.regular_file import open_regular
from vmtasks.kernel.header import KernelHeader, read_header

_BUILT = "arch/x86/boot/bzImage"
_BUILT_RELEASE = "include/config/kernel.release"
_MODULE_DIRECTORIES = ("lib/modules", "usr/lib/modules")
_IMAGES = ("boot/*", "lib/modules/*/*", "usr/lib/modules/*/*", "*")
_IMAGE = re.compile(r"(?:(?:vmlinuz|(?:bz|z)?Image)(?:-.*)?|vmlinux-.*)(?<!\.xz)(?<!\.gz)(?<!\.old)")
_MODULE = re.compile(r".*\.ko(?:\.(?:xz|zst|gz))?")
_LISTS = {"modules.builtin", "modules.builtin.modinfo", "modules.order"}
"""What depmod reads, and what tells which drivers are built in; the rest of its kind, depmod writes."""
_CONFIGS = (
    "boot/config-{0}",
    "lib/modules/{0}/config",
    "usr/lib/modules/{0}/config",
    ".config",
    "config",
    "config-{0}",
)
_INITRDS = (
    "boot/initrd.img-{0}",
    "boot/initramfs-{0}.img",
    "boot/initrd-{0}",
    "lib/modules/{0}/initrd",
    "usr/lib/modules/{0}/initrd",
)
_INITRD = re.compile(r"initrd(?:[.-].*)?|initramfs-.*\.img")
_RELEASE = re.compile(r"[A-Za-z0-9][\w.+~-]{0,63}", re.ASCII)
_X86 = {"amd64", "i386", ""}
_SHOWN, _SHOWN_LENGTH = 5, 80
"""So many things, and so many characters of one, get into a message."""
_TEXT_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTree:
    """The files that make a kernel, where they are now."""

    image: Path
    header: KernelHeader
    config: Path | None = None
    initrd: Path | None = None
    """The initrd that came with it."""
    modules: Mapping[str, Path] = field(default_factory=dict)
    """What belongs into ``lib/modules/RELEASE``, by its path there: modules, and lists of them."""

    @property
    def module_paths(self) -> tuple[str, ...]:
        """The paths of its modules alone."""
        return tuple(path for path in self.modules if _MODULE.fullmatch(path))

    def text(self, path: Path | None) -> str | None:
        """Return what a file of it holds; None if there is no such file."""
        if path is None:
            return None
        with os.fdopen(open_regular(path), "rb") as file:
            return file.read(_TEXT_LIMIT_BYTES).decode(errors="replace")


def wanted(path: PurePath) -> bool:
    """Whether a file of a package or of an archive may belong to a kernel: a pure function."""
    if "debug" in path.parts[:-1] and "usr" in path.parts:  # /usr/lib/debug
        return False
    is_config = path.name in (".config", "config") or path.name.startswith("config-")
    return (
        is_config
        or path.name in _LISTS
        or str(path).endswith(_BUILT_RELEASE)
        or any(pattern.fullmatch(path.name) for pattern in (_IMAGE, _MODULE, _INITRD))
    )


def is_module(path: PurePath) -> bool:
    """Whether a file is a module, compressed or not."""
    return bool(_MODULE.fullmatch(path.name))


def has_image(root: Path) -> bool:
    """Whether there is something in a directory that could be a kernel's image."""
    return (root / _BUILT).is_file() or any(_images(root))


def kernel_in(root: Path, name: str, *, is_own: bool) -> KernelTree:
    """Return the one kernel in a directory.

    :param name: what a message calls it.
    :param is_own: whether other kernels' modules may lie about, as they do where one installs again and again.
    :raise UsageError: there is none or more than one, it is for another architecture, or it does not fit its modules.
    :raise OSError: something cannot be read.
    """
    image, header = _image_of(root, name)
    directories = _module_directories(root)
    others = sorted(directories.keys() - {header.release})
    if others and (header.release not in directories or not is_own):
        raise UsageError(
            f"cannot use the modules of {name}: its kernel is {header.release}, and they are those of "
            f"{', '.join(others[:_SHOWN])}",
            hint="modules and kernel must be of one build, or it loads none of them",
        )
    modules: dict[str, Path] = {}
    for directory in directories.get(header.release, ()):
        modules |= {str(path.relative_to(directory)): path for path in _files(directory)}
    if not directories and (root / _BUILT).is_file():
        modules = _built_modules(root, name, header.release)
    config, initrd = (_first(root, names, header.release) for names in (_CONFIGS, _INITRDS))
    _expect_beneath(root, name, [image, *filter(None, (config, initrd)), *modules.values()])
    return KernelTree(image=image, header=header, config=config, initrd=initrd, modules=dict(sorted(modules.items())))


def _first(root: Path, names: Iterable[str], release: str) -> Path | None:
    paths = (root / name.format(release) for name in names)
    return next((path for path in paths if path.is_file()), None)


def _expect_beneath(root: Path, name: str, files: Iterable[Path]) -> None:
    """See that no link leads to a file of the host's that is no part of what was named: it would get into an image.

    :raise UsageError: one does.
    """
    top = root.resolve()
    for path in files:
        if not path.resolve().is_relative_to(top):
            raise UsageError(
                f"cannot use the kernel in {name}: {path.relative_to(root)} is a link that leads out of it"
            )


def _image_of(root: Path, name: str) -> tuple[Path, KernelHeader]:
    built = root / _BUILT
    candidates = [built] if built.is_file() else list(_images(root))
    kernels: dict[str, tuple[Path, KernelHeader]] = {}
    foreign = ""
    for path in candidates:
        header = read_header(path)
        if header and header.architecture in _X86:
            kernels.setdefault(header.release, (path, header))
        elif header:
            foreign = header.architecture
    if len(kernels) == 1:
        ((image, header),) = kernels.values()
        if not _RELEASE.fullmatch(header.release):
            raise UsageError(f"cannot use the kernel in {name}: {header.release[:80]!r} is no release of one")
        if image.stat().st_size < header.whole_bytes:
            raise UsageError(f"cannot use the kernel in {name}: {image.name} is cut short")
        return image, header
    if foreign and not kernels:
        raise UsageError(
            f"cannot use the kernel in {name}: it is for {foreign}, and it must be for amd64 or i386",
            hint="a machine for arm64 takes one of Debian's by name: linux-image-arm64" if foreign == "arm64" else "",
        )
    if candidates and not kernels:
        raise UsageError(
            f"cannot use the kernel in {name}: {candidates[0].name} is no image that QEMU boots",
            hint="what `make bzImage` makes is wanted, and Debian, Fedora and others call vmlinuz",
        )
    raise UsageError(
        f"{name} has {'several kernels: ' + ', '.join(sorted(kernels)[:_SHOWN]) if kernels else 'no kernel'}",
        hint="one boot/vmlinuz-RELEASE, lib/modules/RELEASE/vmlinuz or arch/x86/boot/bzImage is wanted; of a kernel in "
        "several packages, name all, with commas",
    )


def _images(root: Path) -> Iterator[Path]:
    for pattern in _IMAGES:
        for path in sorted(root.glob(pattern)):
            if _IMAGE.fullmatch(path.name) and path.is_file():
                yield path


def _module_directories(root: Path) -> dict[str, list[Path]]:
    """Return where modules are, by their release; one that is there by two names, once."""
    found: dict[str, list[Path]] = {}
    seen: set[Path] = set()
    for place in _MODULE_DIRECTORIES:
        for directory in sorted((root / place).glob("*/")):
            if directory.resolve() not in seen and any(map(is_module, _files(directory))):
                found.setdefault(directory.name, []).append(directory)
            seen.add(directory.resolve())
    return found or {
        directory.name: [directory]
        for place in _MODULE_DIRECTORIES
        for directory in sorted((root / place).glob("*/"))
        if (directory / "modules.builtin").is_file()
    }


def _files(directory: Path) -> Iterator[Path]:
    """Yield the modules and lists below ``lib/modules/RELEASE``, without following its links to the sources."""
    for above, _, names in os.walk(directory):
        for path in (Path(above, name) for name in names):
            if (is_module(path) or (path.name in _LISTS and path.parent == directory)) and path.is_file():
                yield path


def _built_modules(root: Path, name: str, release: str) -> dict[str, Path]:
    """Return the modules that a built tree has all over it, where `make modules_install` would put them."""
    made = read_file(root / _BUILT_RELEASE, within=root)
    if made is not None and (built := made.decode(errors="replace").strip()) != release:
        raise UsageError(
            f"cannot use the kernel in {name}: its image is {release}, and its modules are for {built[:_SHOWN_LENGTH]}",
            hint="run make there again",
        )
    modules = {one: root / one for one in _LISTS - {"modules.order"} if (root / one).is_file()}
    order = read_file(root / "modules.order", within=root) or b""
    for line in order.decode(errors="replace").split():
        path = _in_order(root, line)
        if path is None:
            raise UsageError(
                f"cannot use the kernel in {name}: modules.order has {line[:_SHOWN_LENGTH]}, which is no module of it"
            )
        if not is_at(root / path, stat.S_ISREG):
            raise UsageError(
                f"cannot use the kernel in {name}: there is no {str(path)[:_SHOWN_LENGTH]}, which modules.order has",
                hint="run make there again",
            )
        modules[f"kernel/{path}"] = root / path
    return modules


def _in_order(root: Path, line: str) -> PurePath | None:
    """Return where the module of a line of ``modules.order`` is in a built tree; None if it can be nowhere.

    Today's trees list where it is built (``kernel/configs.o``), older ones where it is installed
    (``kernel/kernel/configs.ko``).
    """
    for written in (line, line.removeprefix("kernel/")):
        path = PurePath(written)
        if path.is_absolute() or ".." in path.parts or not path.name:
            return None
        path = path.with_suffix(".ko")
        if (root / path).is_file():
            return path
    return path
