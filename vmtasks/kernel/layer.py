"""An image with another kernel: a layer on it, which is baked once, kept and copied as any other is.

A package of Debian's archive is installed while the layer is baked. Any other kernel is unpacked on this host and laid
over the image, and nothing of its package is run. Either way every other kernel goes, and the lean initrd is made with
the image's own tools; so the image boots with it, modules and all, and nothing of it has to be brought in while a
machine starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from vmtasks import events
from vmtasks.cache.entry import CacheEntry
from vmtasks.errors import HostError, UsageError
from vmtasks.guest.direct_boot import UNCOMPRESSED
from vmtasks.image.definition import INHERITED, Definition, File, Step
from vmtasks.kernel.drivers import DRIVERS
from vmtasks.kernel.kept import PAYLOAD, Kernel, condemn
from vmtasks.kernel.origin import sources_of, without_sums

_ROOT_ON_EXT4 = ("ext4", "crc32c_generic")
"""What other kernels than Debian's cloud kernel have as modules; where one is built in, it is left out."""
_NO_PACKAGE = re.compile(r"Unable to locate package|has no installation candidate")
_IN_IMAGE = f"/var/cache/vmtasks/{PAYLOAD}"
_SERIAL_LETTERS = 8

_LIST_INSTALLED = (
    "installed=$(dpkg-query --show --showformat '${Package} ${db:Status-Abbrev}\\n' 'linux-image-*' | "
    "sed -n 's/ ii *$//p')\n"
)

# A metapackage stays for the dependency that it is; of what it depends on, the image has its kernel from. Debian 12's
# tiny-initramfs copies compressed modules, as backports have them, into an initrd whose init cannot load such.
_INSTALLED_ALONE = (
    """
package=@PACKAGE@
wanted=$package
case $package in
linux-image-[0-9]*) ;;
*) wanted=$(dpkg-query --show --showformat '${Depends}' "$package" | grep --only-matching 'linux-image-[^ ,(|]*') ;;
esac
[ "$wanted" ] || wanted=$package
"""
    + _LIST_INSTALLED
    + """for other in $installed; do
    for one in $wanted $package; do [ "$one" = "$other" ] && continue 2; done
    apt-get purge --yes "$other"
done
cd /lib/modules
set -- *
[ $# = 1 ] && [ -e "/boot/vmlinuz-$1" ] || { echo "$package brings not one kernel, but: $*"; exit 1; }
"""
    + UNCOMPRESSED
)

# Purged first: a package may have files of the very release that comes. The archive has no directories in it, so tar
# follows /lib to where the image has it.
_LAID_OVER = (
    """
release=@RELEASE@
"""
    + _LIST_INSTALLED
    + """[ -z "$installed" ] || apt-get purge --yes $installed
rm -rf /lib/modules/* /boot/vmlinuz-* /boot/initrd.img-*
tar --extract --file=@ARCHIVE@ --directory=/ --no-same-owner
rm @ARCHIVE@
depmod "$release"
"""
)


def with_kernel(image: Definition, kernel: str) -> Definition:
    """Return the image that has *kernel* instead of its own.

    :param kernel: the name of a Debian package, or where else it is to come from: see :mod:`vmtasks.kernel.origin`.
    :raise UsageError: it is nowhere, there is not one kernel in it, or the image could not boot with it.
    :raise HostError: it cannot be fetched or unpacked.
    """
    if image.lineage[0].suite is None or any(one.boot_loader != "none" for one in image.lineage):
        raise UsageError(f"cannot give {image.name} another kernel: it boots with its own boot loader")
    if any(step.where == "guest" for one in image.lineage for step in one.steps):
        raise UsageError(f"cannot give {image.name} another kernel: steps of it run in the guest, with its own")
    if not sources_of(kernel):
        layer = _layer(image, kernel, home=image.home, says=kernel)
        return replace(layer, packages=(kernel,), steps=(Step(run=_INSTALLED_ALONE.replace("@PACKAGE@", kernel)),))
    found = Kernel.get(kernel)
    _expect_fit(image, found, without_sums(kernel))
    name = f"{found.release}-{found.facts.sha256[:_SERIAL_LETTERS]}"
    script = _LAID_OVER.replace("@RELEASE@", found.release).replace("@ARCHIVE@", _IN_IMAGE)
    layer = _layer(image, name, home=found.directory / "kernel.toml", says=found.release)
    return replace(layer, files=(File(path=_IN_IMAGE, source=PAYLOAD),), steps=(Step(run=script),))


def _layer(image: Definition, name: str, *, home: Path, says: str) -> Definition:
    layer = Definition(name=f"{image.name}+{name}", home=home, parent=image, from_=image.name)
    inherited = {key: getattr(image, key) for key in INHERITED}
    modules = tuple(dict.fromkeys((*image.modules, *_ROOT_ON_EXT4)))
    description = f"{image.name} with the kernel of {says}"
    return replace(layer, **inherited | {"modules": modules}, description=description)


def _expect_fit(image: Definition, found: Kernel, name: str) -> None:
    """See that a machine of the image can boot with a kernel.

    :raise UsageError: it cannot.
    """
    facts = found.facts
    if facts.architecture not in (image.architecture, ""):
        raise UsageError(
            f"cannot boot {image.name} with the kernel of {name}: it is for {facts.architecture}, and the image is "
            f"{image.architecture}"
        )
    if facts.missing is None:
        drivers = ", ".join(DRIVERS)
        text = f"nothing in {name} tells whether its kernel has {drivers}: neither modules.builtin nor a .config"
        events.emit(events.Note(text=text, level="warning"))
    elif facts.missing:
        raise UsageError(
            f"cannot boot {image.name} with the kernel of {name}: {facts.release} has no "
            f"{' and no '.join(facts.missing)}, built in or as a module",
            hint=f"build it with {', '.join(DRIVERS[driver] for driver in facts.missing)}; a module for the root needs "
            "CONFIG_BLK_DEV_INITRD as well",
        )


def _damage(kernel: str) -> str:
    """Return what is wrong with what is kept of a kernel, all of it read, and be rid of it; nothing if it is whole."""
    with suppress(HostError, UsageError):  # it cannot be had any more, and why it cannot be baked is told
        return condemn(CacheEntry(directory=Kernel.get(kernel).directory)) if sources_of(kernel) else ""
    return ""


@contextmanager
def baking(image: Definition, kernel: str) -> Iterator[None]:
    """In the block, the image is baked with another kernel: that there is none of that name is the asker's mistake.

    :raise UsageError: the archive that the image is from has no such package.
    :raise HostError: it cannot be baked; if what was kept of the kernel is damaged, it is there no more.
    """
    try:
        yield
    except HostError as problem:
        if reason := _damage(kernel):
            raise HostError(
                f"cannot bake {image.name} with the kernel of {without_sums(kernel)}: what was kept of it is damaged: "
                f"{reason}",
                details=problem.details,
                hint="call again: it is unpacked anew",
            ) from problem
        if not any(_NO_PACKAGE.search(line) for line in problem.details):
            raise
        listing = f"`apt list 'linux-image-*'` in a machine of {image.name} shows those that there are"
        raise UsageError(
            f"there is no package {kernel} for {image.name}",
            hint=f"if you mean what lies here: ./{kernel}" if Path(kernel).exists() else listing,
        ) from problem
