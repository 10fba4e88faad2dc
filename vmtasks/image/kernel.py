"""An image with another kernel: a layer on it, which is baked once, kept and copied as any other is.

The kernel comes as a package, is installed while the layer is baked, and every other one goes; so the image boots with
it, modules and all, and nothing of it has to be brought in while a machine starts.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vmtasks.cache.entry import CacheEntry, exclusive, incomplete, sweep
from vmtasks.config.paths import cache_dir
from vmtasks.errors import HostError, UsageError
from vmtasks.files import durable
from vmtasks.image.definition import INHERITED, Definition, File, Step
from vmtasks.image.spared import SPARED_S

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_ROOT_ON_EXT4 = ("ext4", "crc32c_generic")
"""What other kernels than Debian's cloud kernel have as modules; where one is built in, it is left out."""
_NO_PACKAGE = re.compile(r"Unable to locate package|has no installation candidate")
_IMAGE = re.compile(r"(?m) \./boot/vmlinu[xz]-(\S+)$")
_HEADER_BYTES, _MAGIC, _VERSION, _SECTOR_BYTES = 0x210, slice(0x202, 0x206), slice(0x20E, 0x210), 0x200
_DEB = "/var/cache/vmtasks/kernel.deb"

# A metapackage stays for the dependency that it is; of what it depends on, the image has its kernel from.
_ALONE = """
package=@PACKAGE@
wanted=$package
case $package in
linux-image-[0-9]*) ;;
*) wanted=$(dpkg-query --show --showformat '${Depends}' "$package" | grep --only-matching 'linux-image-[^ ,(|]*') ;;
esac
[ "$wanted" ] || wanted=$package
installed=$(dpkg-query --show --showformat '${Package} ${db:Status-Abbrev}\\n' 'linux-image-*' | sed -n 's/ ii *$//p')
for other in $installed; do
    for one in $wanted $package; do [ "$one" = "$other" ] && continue 2; done
    apt-get purge --yes "$other"
done
cd /lib/modules
set -- *
[ $# = 1 ] && [ -e "/boot/vmlinuz-$1" ] || { echo "$package brings not one kernel, but: $*"; exit 1; }
"""


def with_kernel(image: Definition, kernel: str) -> Definition:
    """Return the image that has *kernel* instead of its own.

    :param kernel: the name of a Debian package, or a .deb file.
    :raise UsageError: it is neither, or the package has no kernel, or several.
    """
    if image.lineage[0].suite is None:
        raise UsageError(f"cannot give {image.name} another kernel: it boots with its own boot loader")
    if any(step.where == "guest" for one in image.lineage for step in one.steps):
        raise UsageError(f"cannot give {image.name} another kernel: steps of it run in the guest, with its own")
    if not kernel.endswith(".deb") and "/" not in kernel:
        if not _PACKAGE.fullmatch(kernel):
            raise UsageError(f"{kernel!r} is neither a .deb file nor the name of a Debian package with a kernel")
        return _layer(image, kernel, home=image.home, packages=(kernel,))
    package, directory = _kept(Path(kernel))
    file = File(path=_DEB, source="kernel.deb")
    install = Step(run=f"apt-get install --yes --no-install-recommends {_DEB} && rm {_DEB}")
    name = f"{package}-{directory.name[:8]}"
    return _layer(image, name, home=directory / "kernel.toml", files=(file,), steps=(install,), package=package)


def _layer(
    image: Definition,
    name: str,
    *,
    home: Path,
    package: str = "",
    packages: tuple[str, ...] = (),
    files: tuple[File, ...] = (),
    steps: tuple[Step, ...] = (),
) -> Definition:
    layer = Definition(name=f"{image.name}+{name}", home=home, parent=image, from_=image.name)
    inherited = {key: getattr(image, key) for key in INHERITED}
    modules = tuple(dict.fromkeys((*image.modules, *_ROOT_ON_EXT4)))
    alone = Step(run=_ALONE.replace("@PACKAGE@", package or name))
    return replace(
        layer,
        **inherited | {"modules": modules},
        description=f"{image.name} with the kernel of {package or name}",
        packages=packages,
        files=files,
        steps=(*steps, alone),
    )


def releases_in(listing: str) -> list[str]:
    """Return the releases, as ``uname -r`` prints them, of the kernels in a package: a pure function.

    :param listing: what it has, as ``dpkg-deb --contents`` prints it.
    """
    return sorted(set(_IMAGE.findall(listing)))


def kernels_dir() -> Path:
    """Return the directory of the files that kernels came in, which need not exist."""
    return cache_dir() / "kernels"


def prune(*, everything: bool = False) -> int:
    """Remove the files that have not served for a week, and return how many bytes that has freed.

    :param everything: remove the others as well.
    """
    freed_bytes = 0
    sweep(kernels_dir())
    for directory in kernels_dir().glob("[0-9a-f]*[0-9a-f]/"):
        kept = CacheEntry(directory=directory)
        size_bytes = kept.size_bytes
        if (everything or time.time() - kept.used_s > SPARED_S) and kept.drop():
            freed_bytes += size_bytes
    return freed_bytes


def _kept(deb: Path) -> tuple[str, Path]:
    """Copy a package's file to where a layer has it beside it; return the package's name, and that place."""
    try:
        with deb.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise UsageError(f"cannot read the kernel {deb}: {problem.strerror}") from problem
    releases = releases_in(_asked(deb, "--contents"))
    if len(releases) != 1:
        raise UsageError(
            f"{deb} has {'several kernels: ' + ', '.join(releases) if releases else 'no kernel'}",
            hint="a package with one /boot/vmlinuz-RELEASE is wanted, such as linux-image-6.1.0-50-amd64",
        )
    directory = kernels_dir() / digest
    beside = directory.with_name(f".{digest}.{os.getpid()}.part")
    try:
        with exclusive(directory.with_name(f"{digest}.lock"), other="a copy of that kernel"):
            if not directory.is_dir():
                with incomplete(beside):
                    shutil.copyfile(deb, beside / "kernel.deb")
                    durable.rename(beside, directory)
            CacheEntry(directory=directory).touch()
    except OSError as problem:
        raise HostError(f"cannot keep the kernel {deb} in {directory}: {problem.strerror}") from problem
    return _asked(deb, "--field", "Package").strip(), directory


def _asked(deb: Path, question: str, *more: str) -> str:
    try:
        argv = ("dpkg-deb", question, str(deb.absolute()), *more)
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError as problem:
        raise HostError("cannot read packages: there is no dpkg-deb", hint="apt install dpkg") from problem
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it is no package"])[-1]
        raise UsageError(f"cannot read the kernel {deb}: {reason}")
    return done.stdout


@contextmanager
def baking(image: Definition, kernel: str) -> Iterator[None]:
    """In the block, the image is baked with another kernel: that there is none of that name is the asker's mistake.

    :raise UsageError: the archive that the image is from has no such package.
    """
    try:
        yield
    except HostError as problem:
        if not any(_NO_PACKAGE.search(line) for line in problem.details):
            raise
        raise UsageError(
            f"there is no package {kernel} for {image.name}",
            hint=f"`apt list 'linux-image-*'` in a machine of {image.name} shows those that there are",
        ) from problem


def release_of(image: Path) -> str:
    """Return what ``uname -r`` prints under a kernel, from its image's own header; empty where it has no such header.

    Source: the kernel's Documentation/arch/x86/boot.rst, ``kernel_version``.
    """
    with image.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        if header[_MAGIC] != b"HdrS":
            return ""
        file.seek(int.from_bytes(header[_VERSION], "little") + _SECTOR_BYTES)
        words = file.read(_SECTOR_BYTES).split(b"\0")[0].split()
    return words[0].decode(errors="replace") if words else ""
