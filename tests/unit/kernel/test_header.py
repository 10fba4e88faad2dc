"""What an image of a kernel says of itself."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.small_kernel import RELEASE, VERSION, bz_image
from vmtasks.kernel.header import KernelHeader, read_header, release_of

ELF_PPC64 = b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + struct.pack("<H", 21)
ELF_S390X = b"\x7fELF\x02\x02\x01".ljust(18, b"\0") + struct.pack(">H", 22)
PE_ARM64 = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0" + struct.pack("<H", 0xAA64)
PE_X86 = PE_ARM64[:-2] + struct.pack("<H", 0x8664)


def test_release_version_and_size_are_those_of_the_header(tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(bz_image())
    assert read_header(image) == KernelHeader(architecture="amd64", release=RELEASE, version=VERSION, whole_bytes=0xA00)
    assert release_of(image) == RELEASE


def test_32_bits_are_another_architecture_and_an_old_header_does_not_tell(tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(bz_image(is_64_bit=False))
    header = read_header(image)
    assert header is not None
    assert header.architecture == "i386"
    old = bytearray(bz_image())
    old[0x206:0x208] = struct.pack("<H", 0x208)
    image.write_bytes(old)
    header = read_header(image)
    assert header is not None
    assert header.architecture == ""


@pytest.mark.parametrize(
    ("content", "architecture"),
    [
        (ELF_PPC64, "ppc64el"),
        (ELF_S390X, "s390x"),
        (PE_ARM64, "arm64"),
        (bytes(0x38) + b"ARM\x64", "arm64"),
        (bytes(0x38) + b"RSC\x05", "riscv64"),
    ],
)
def test_a_foreign_image_is_known_as_one(content: bytes, architecture: str, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(content)
    assert read_header(tmp_path / "vmlinuz") == KernelHeader(architecture=architecture)


@pytest.mark.parametrize("content", [b"", b"an image\n", b"MZ", PE_X86, b"\x7fELF", b"\xff" * 0x1000])
def test_anything_else_is_no_image(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(content)
    assert read_header(tmp_path / "vmlinuz") is None
    assert release_of(tmp_path / "vmlinuz") == ""


def test_a_header_that_leads_behind_the_file_has_no_release(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(bz_image()[:0x600])
    header = read_header(tmp_path / "vmlinuz")
    assert header is not None
    assert (header.release, header.version) == ("", "")


def test_nobody_waits_for_the_other_end_of_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "vmlinuz")
    with pytest.raises(OSError, match="not a regular file"):
        read_header(tmp_path / "vmlinuz")
