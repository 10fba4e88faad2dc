"""A kernel on this host, for those who want its files: from open files and from packages by name; apt is played."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

from tests.small_kernel import MODULES, RELEASE, VERSION, bz_image, deb, kernel_files, laid, module
from vmtasks import HostError, Kernel, UsageError

IMAGE = "linux-image-6.12.1-own"
APT_CACHE = """#!/bin/sh
echo "apt-cache $*" >>{room}/asked
case "$3" in
    linux-image-own) echo "Package: $3"; echo "Depends: {image} (= 6.12.1-1)" ;;
    {image}) echo "Package: $3"; echo "Depends: kmod, linux-base (>= 4.3~)" ;;
    *) echo "N: Unable to locate package $3" >&2; echo "E: No packages found" >&2; exit 100 ;;
esac
"""
APT_GET = """#!/bin/sh
echo "apt-get $*" >>{room}/asked
case "$*" in
    --print-uris*) echo "'http://deb.example/{image}.deb' {image}_6.12.1-1_amd64.deb 1234 SHA256:{sha256}" ;;
    *"download {image}") cp {room}/kernel.deb {image}_6.12.1-1_amd64.deb ;;
    *) echo "E: Failed to fetch" >&2; exit 100 ;;
esac
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have an apt here whose archive has one kernel; return its directory."""
    room = tmp_path / "apt"
    room.mkdir()
    made = deb(kernel_files(), tmp_path / "made.deb").rename(room / "kernel.deb")
    sha256 = hashlib.sha256(made.read_bytes()).hexdigest()
    for name, script in (("apt-cache", APT_CACHE), ("apt-get", APT_GET)):
        (room / name).write_text(script.format(room=room, image=IMAGE, sha256=sha256))
        (room / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{room}:{os.environ['PATH']}")
    return room


@pytest.mark.parametrize("name", [IMAGE, "linux-image-own"])
def test_a_debian_package_by_its_name_is_fetched_once(apt: Path, name: str) -> None:
    kernel = Kernel.get(name)
    assert (kernel.release, kernel.version) == (RELEASE, VERSION)
    assert Kernel.get(name) == kernel
    assert Kernel.get(str(apt / "kernel.deb")) == kernel, "the same file from elsewhere"
    asked = (apt / "asked").read_text().splitlines()
    assert [line for line in asked if "--print-uris" not in line and "apt-get" in line] == [
        f"apt-get --quiet download {IMAGE}"
    ]


def test_what_apt_does_not_know_or_cannot_fetch_is_a_sentence(apt: Path) -> None:
    with pytest.raises(UsageError, match="there is no Debian package linux-image-none that this host's apt knows"):
        Kernel.get("linux-image-none")
    (apt / "kernel.deb").write_bytes(b"another")
    with pytest.raises(HostError, match="apt has fetched something else than it lists"):
        Kernel.get(IMAGE)
    (apt / "kernel.deb").unlink()
    with pytest.raises(HostError, match=f"cannot fetch the Debian package {IMAGE}: "):
        Kernel.get(IMAGE)
    assert not list(apt.parent.glob("cache/kernels/.*.part"))


def test_a_host_without_apt_says_what_serves_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="there is no apt-cache on this host") as told:
        Kernel.get("linux-image-amd64")
    assert told.value.hint == "name its .deb file instead, or its address with its sum"


def test_an_open_file_is_as_good_as_its_path(tmp_path: Path) -> None:
    path = deb(kernel_files(), tmp_path / "own.deb")
    by_path = Kernel.get(path)
    with path.open("rb") as file:
        assert Kernel.get(file) == by_path
    assert Kernel.get(io.BytesIO(path.read_bytes())) == by_path
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb") as other:
        other.write(bz_image())
        other.close()
        assert Kernel.get(pipe).facts.modules == 0
    cut = io.BytesIO(path.read_bytes()[1:])
    with pytest.raises(UsageError, match="cannot unpack the kernel"):
        Kernel.get(cut)
    with path.open(errors="replace") as text, pytest.raises(UsageError, match=r"cannot read the kernel .*own") as told:
        Kernel.get(text)  # type: ignore[arg-type]
    assert "for reading bytes" in told.value.hint


def test_a_path_with_a_comma_is_one_path(tmp_path: Path) -> None:
    assert Kernel.get(deb(kernel_files(), tmp_path / "a,b.deb")).release == RELEASE


@pytest.mark.parametrize(
    "name", ["boot/initrd.img-{}", "boot/initramfs-{}.img", "lib/modules/{}/initrd", "usr/lib/modules/{}/initrd"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_it_is_unpacked_without_being_installed(name: str, packed: bool, tmp_path: Path) -> None:
    files = kernel_files(suffix=".xz") | {name.format(RELEASE): b"initrd"}
    kernel = Kernel.get(deb(files, tmp_path / "own.deb") if packed else laid(files, tmp_path / "own"))
    assert kernel.image.read_bytes() == bz_image()
    assert kernel.initrd is not None
    assert kernel.initrd.read_bytes() == b"initrd"
    target = kernel.extract(tmp_path / "there/below")
    assert target == tmp_path / "there/below"
    assert (target / f"boot/vmlinuz-{RELEASE}").read_bytes() == bz_image()
    assert (target / f"boot/initrd.img-{RELEASE}").read_bytes() == b"initrd"
    assert (target / f"lib/modules/{RELEASE}/kernel/{MODULES[0]}.ko").read_bytes() == module(MODULES[0])
    assert kernel.extract(target) == target, "again, over what is there"


def test_debians_packages_have_no_initrd_and_a_file_is_no_directory(tmp_path: Path) -> None:
    kernel = Kernel.get(deb(kernel_files(), tmp_path / "own.deb"))
    assert kernel.initrd is None
    with pytest.raises(UsageError, match=r"cannot unpack the kernel 6\.12\.1-own into .*own\.deb: "):
        kernel.extract(tmp_path / "own.deb")


def test_a_mistyped_path_is_never_content() -> None:
    with pytest.raises(UsageError, match=r"cannot read the kernel linux-2\.6\.22\.deb: No such file"):
        Kernel.get("./linux-2.6.22.deb")
