"""The architecture that a word of LAVA's means: the name of a device type, or the ``arch`` of a context."""

from __future__ import annotations

import re

from vmtasks.errors import UsageError
from vmtasks.image.definition import find

ARCHITECTURES = ("amd64", "x86_64", "i386", "arm64", "aarch64")
"""What a context may ask for."""
_ARM64 = re.compile(r"aarch64|arm64|armv8")
_OTHER = re.compile(r"arm|riscv|mips|ppc|powerpc|s390")


def is_arm64(name: str) -> bool:
    """Tell whether a device type or an architecture says of itself that it is arm64."""
    return bool(_ARM64.search(name.lower()))


def is_foreign(name: str) -> bool:
    """Tell whether a device type or an architecture says that it is one of which we have no machines."""
    return not is_arm64(name) and bool(_OTHER.search(name.lower()))


def stand_in(name: str) -> str:
    """Return the image that is nearest to a device type: what messages propose."""
    return "bookworm-arm64" if "arm" in name.lower() or is_arm64(name) else "bookworm"


def stand_in_kernel(image: str) -> str:
    """Return the kernel of Debian's that is nearest to one for an image: what messages propose.

    :raise UsageError: there is no such image.
    """
    architecture = find(image).architecture
    return "linux-image-686" if architecture == "i386" else f"linux-image-cloud-{architecture}"


def fits(image: str, name: str) -> bool:
    """Tell whether programs for a device type or an architecture may run in an image, as far as both say.

    :raise UsageError: there is no such image.
    """
    return (find(image).architecture == "arm64") == is_arm64(name)


def expect_fit(image: str, arch: str, *, where: str) -> None:
    """See that an image is for the architecture that a context asks for, if it does.

    :raise UsageError: it is not, or there is no such image.
    """
    if arch and not fits(image, arch):
        raise UsageError(
            f"{where}: its role's context asks for '{arch}', and the image '{image}' is for {find(image).architecture}",
            hint=f"have {stand_in(arch)}, or a layer on it, stand for the URL",
        )
