"""What a kernel's image says of itself.

Source: the kernel's Documentation/arch/x86/boot.rst, arch/arm64/booting.rst and arch/riscv/boot-image-header.rst, the
PE format, elf(5).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vmtasks.files.regular_file import open_regular

_HEADER_BYTES = 0x1000
_SECTOR_BYTES, _PARAGRAPH_BYTES = 0x200, 0x10
_MAGIC = slice(0x202, 0x206)
_SETUP_SECTORS, _SIZE, _PROTOCOL, _VERSION, _LOAD_FLAGS = 0x1F1, 0x1F4, 0x206, 0x20E, 0x236
_HAS_LOAD_FLAGS = 0x20C
_IS_64_BIT = 1

_MAGICS = ((0x38, b"ARM\x64", "arm64"), (0x38, b"RSC\x05", "riscv64"), (0x24, b"\x18\x28\x6f\x01", "armhf"))
_PE_MACHINES = {0xAA64: "arm64", 0x5064: "riscv64", 0x6264: "loong64", 0x1C2: "armhf"}
_ELF_MACHINES = {8: "mips64el", 21: "ppc64el", 22: "s390x", 183: "arm64", 243: "riscv64", 258: "loong64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelHeader:
    """What is known of an image; release and version are empty for a foreign architecture."""

    architecture: str
    """Debian's name for it; empty where an old x86 kernel does not tell."""
    release: str = ""
    """What ``uname -r`` prints under it."""
    version: str = ""
    """What ``uname -v`` prints under it."""
    whole_bytes: int = 0
    """How large its file is at least."""


def read_header(image: Path) -> KernelHeader | None:
    """Return what an image says of itself; None if it is none that we know.

    :raise OSError: it cannot be read, or is no regular file.
    """
    with os.fdopen(open_regular(image), "rb") as file:
        header = file.read(_HEADER_BYTES)
        if header[_MAGIC] != b"HdrS":
            foreign = _foreign_architecture(header)
            return KernelHeader(architecture=foreign) if foreign else None
        file.seek(_number(header, _VERSION, 2) + _SECTOR_BYTES)
        text = file.read(_SECTOR_BYTES).split(b"\0")[0].decode(errors="replace")
    architecture = ""
    if _number(header, _PROTOCOL, 2) >= _HAS_LOAD_FLAGS:
        architecture = "amd64" if _number(header, _LOAD_FLAGS, 2) & _IS_64_BIT else "i386"
    setup_bytes = ((header[_SETUP_SECTORS] or 4) + 1) * _SECTOR_BYTES
    return KernelHeader(
        architecture=architecture,
        release=text.partition(" ")[0],
        version="#" + text.partition(" #")[2] if " #" in text else "",
        whole_bytes=setup_bytes + _number(header, _SIZE, 4) * _PARAGRAPH_BYTES,
    )


def release_of(image: Path) -> str:
    """Return what ``uname -r`` prints under a kernel, from its own header; empty where it has none."""
    header = read_header(image)
    return header.release if header else ""


def _foreign_architecture(header: bytes) -> str:
    for at, magic, architecture in _MAGICS:
        if header.startswith(magic, at):
            return architecture
    if header.startswith(b"\x7fELF"):
        order = "big" if header[5:6] == b"\2" else "little"
        return _ELF_MACHINES.get(int.from_bytes(header[18:20], order), "")  # type: ignore[arg-type]
    if header.startswith(b"MZ"):
        at = _number(header, 0x3C, 4)
        if header[at : at + 4] == b"PE\0\0":
            return _PE_MACHINES.get(_number(header, at + 4, 2), "")
    return ""


def _number(header: bytes, at: int, size_bytes: int) -> int:
    return int.from_bytes(header[at : at + size_bytes], "little")
