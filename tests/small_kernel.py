"""Kernels that do nothing: images with a true header, modules that are none, and what such things come in."""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

RELEASE = "6.12.1-own"
VERSION = "#1 SMP PREEMPT_DYNAMIC Sun Nov 29 00:00:00 UTC 2026"
MODULES = ("drivers/virtio/virtio_pci", "drivers/block/virtio_blk", "drivers/net/virtio_net", "fs/ext4/ext4")
PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    ".zst": lambda data: zstd(data),  # noqa: PLW0108 - it comes further down
}


def bz_image(release: str = RELEASE, *, is_64_bit: bool = True) -> bytes:
    """Return an image as QEMU would load it: boot.rst's header, and a sector of kernel."""
    setup = bytearray(0x800)
    setup[0x1F1] = 3  # sectors behind the first one
    setup[0x1F4:0x1F8] = struct.pack("<I", 0x200 // 16)
    setup[0x202:0x206] = b"HdrS"
    setup[0x206:0x208] = struct.pack("<H", 0x20F)
    setup[0x20E:0x210] = struct.pack("<H", 0x400)
    setup[0x236:0x238] = struct.pack("<H", is_64_bit)
    text = f"{release} (builder@example) {VERSION}\0".encode()
    setup[0x600 : 0x600 + len(text)] = text
    return bytes(setup) + bytes(0x200)


def zstd(data: bytes, *, states_size: bool = True) -> bytes:
    """Compress as the kernel's makefiles do; from a pipe, zstd does not know the size."""
    size = [f"--stream-size={len(data)}"] if states_size else []
    return subprocess.run(["zstd", "-qc", *size], input=data, check=True, capture_output=True).stdout


def module(name: str) -> bytes:
    """Return what stands for the module."""
    return b"\x7fELF " + name.encode() * 100


def kernel_files(
    release: str = RELEASE,
    *,
    modules: tuple[str, ...] = MODULES,
    builtin: tuple[str, ...] | None = (),
    below: str = "lib/modules",
    suffix: str = "",
    image: str = "boot/vmlinuz-{}",
) -> dict[str, bytes]:
    """Return the files of a kernel as a package has them, by their path."""
    place = f"{below}/{release}"
    files = {image.format(release): bz_image(release)}
    files |= {f"{place}/kernel/{name}.ko{suffix}": PACKERS[suffix](module(name)) for name in modules}
    if builtin is not None:
        files[f"{place}/modules.builtin"] = "".join(f"kernel/{name}.ko\n" for name in builtin).encode()
    return files


def laid(files: Mapping[str, bytes], root: Path) -> Path:
    """Write files below a directory, and return that."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def deb(files: Mapping[str, bytes], path: Path, *, package: str = "linux-image-own") -> Path:
    """Build a Debian package of files."""
    tree = laid(files, path.with_name(f"{path.name}.tree"))
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        f"Package: {package}\nVersion: 1-1\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: k\n"
    )
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, path], check=True, stdout=subprocess.DEVNULL)
    return path


def rpm(files: Mapping[str, bytes], path: Path, *, suffix: str = ".zst") -> Path:
    """Write an .rpm of files: lead, two headers with nothing to tell, and the payload (rpm's format V3, and cpio)."""
    lead = struct.pack(">4sBBHH66sHH16x", b"\xed\xab\xee\xdb", 3, 0, 0, 1, b"kernel-own", 1, 5)
    entry = struct.pack(">IIII", 1000, 6, 0, 1) + b"kernel-own\0"  # RPMTAG_NAME, a string
    header = b"\x8e\xad\xe8\x01" + bytes(4) + struct.pack(">II", 1, len(b"kernel-own\0")) + entry
    padding = bytes(-len(header) % 8)
    path.write_bytes(lead + header + padding + header + PACKERS[suffix](_cpio(files)))
    return path


def _cpio(files: Mapping[str, bytes]) -> bytes:
    archive = b""
    for number, (name, content) in enumerate([*files.items(), ("TRAILER!!!", b"")], start=1):
        path = f"./{name}".encode() if content or name in files else name.encode()
        mode = 0o100644 if name in files else 0
        numbers = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path) + 1, 0)
        head = b"070701" + b"".join(f"{one:08x}".encode() for one in numbers) + path + b"\0"
        archive += head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
    return archive
