"""Real kernels of others, in images that were made for another one: they boot, with their modules, and are proved."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.debian_kernel import fetched
from vmtasks import boot
from vmtasks.guest import Guest
from vmtasks.image.baked import key_of
from vmtasks.image.definition import find
from vmtasks.kernel.header import release_of
from vmtasks.kernel.kept import Kernel
from vmtasks.kernel.layer import with_kernel
from vmtasks.providers.qemu.provider import ensure_baked

SPEC = """\
Name: kernel-core
Version: 1
Release: 1
Summary: k
License: GPL
%description
k
%package -n kernel-modules
Summary: m
%description -n kernel-modules
m
%install
mkdir -p %{buildroot}/usr/lib/modules
cp -r @TREE@/usr/lib/modules/. %{buildroot}/usr/lib/modules/
cp @TREE@/boot/vmlinuz-@RELEASE@ %{buildroot}/usr/lib/modules/@RELEASE@/vmlinuz
cp @TREE@/boot/config-@RELEASE@ %{buildroot}/usr/lib/modules/@RELEASE@/config
%files
%dir /usr/lib/modules/@RELEASE@
/usr/lib/modules/@RELEASE@/[vcm]*
%ghost /boot/vmlinuz-@RELEASE@
%files -n kernel-modules
/usr/lib/modules/@RELEASE@/kernel
"""
"""The packages of a kernel, in the shape that Fedora gives them."""


@pytest.fixture(scope="module")
def trixie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetched("linux-image-cloud-amd64", "trixie", tmp_path_factory.mktemp("trixie"))


@pytest.fixture(scope="module")
def realtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetched("linux-image-rt-amd64", "bookworm", tmp_path_factory.mktemp("rt"))


@pytest.fixture(scope="module")
def unpacked(realtime: Path) -> Path:
    target = realtime.with_name("unpacked")
    subprocess.run(["dpkg-deb", "--extract", realtime, target], check=True)
    return target


def expect_running(guest: Guest, kernel: Kernel) -> None:
    """See that a guest runs a kernel, has no other, and loads a module of it that was not in the initrd."""
    assert guest.succeed(["uname", "--kernel-release"]).strip() == kernel.release
    assert guest.succeed(["uname", "--kernel-version"]).strip() == kernel.version
    assert guest.succeed(["ls", "/lib/modules"]).split() == [kernel.release]
    guest.succeed("modprobe overlay && grep --quiet '^overlay ' /proc/modules")
    assert guest.succeed(["systemctl", "is-system-running", "--wait"]) == "running\n"


def test_the_kernel_of_the_next_debian_has_compressed_modules_and_boots_an_older_image(trixie: Path) -> None:
    listing = subprocess.run(["dpkg-deb", "--contents", trixie], check=True, capture_output=True, text=True).stdout
    assert "./usr/lib/modules/" in listing
    assert ".ko.xz" in listing
    kernel = Kernel.get(str(trixie))
    assert f"./boot/vmlinuz-{kernel.release}\n" in listing
    with boot("bookworm", kernel=str(trixie), cold=True) as guest:
        expect_running(guest, kernel)


def test_a_directory_serves_as_its_package_does_and_machines_are_copied(realtime: Path, unpacked: Path) -> None:
    image = find("bookworm")
    assert key_of(with_kernel(image, str(unpacked))) == key_of(with_kernel(image, str(realtime)))
    kernel = Kernel.get(str(unpacked))
    for _ in range(2):
        with boot("bookworm", kernel=str(unpacked)) as guest:
            expect_running(guest, kernel)
            assert guest.succeed(["cat", "/sys/kernel/realtime"]) == "1\n"


def test_a_package_of_backports_has_compressed_modules_too(images: Path) -> None:
    (images / "newer.toml").write_text('from = "bookworm"\n[[repositories]]\nsuite = "bookworm-backports"\npin = 600\n')
    # It is not booted: by emulation, the newest kernels panic now and then, whoever boots them.
    baked = ensure_baked(with_kernel(find("newer"), "linux-image-cloud-amd64"))
    assert baked.kernel
    assert re.fullmatch(r"6\.[0-9.]+\+deb1[0-9]-cloud-amd64", release_of(baked.kernel))
    initrd = baked.initrd.read_bytes()
    initrd = gzip.decompress(initrd) if initrd.startswith(b"\x1f\x8b") else initrd
    assert b"virtio_blk.ko\0" in initrd
    assert b".ko.xz" not in initrd


def test_a_machine_reboots_into_the_same_kernel(trixie: Path) -> None:
    with boot("bookworm", kernel=str(trixie)) as guest:
        guest.reboot()
        expect_running(guest, Kernel.get(str(trixie)))


def test_a_kernel_in_two_rpms_boots(trixie: Path, tmp_path: Path) -> None:
    if shutil.which("rpmbuild") is None:
        pytest.skip("there is no rpmbuild here: apt install rpm")
    subprocess.run(["dpkg-deb", "--extract", trixie, tmp_path / "tree"], check=True)
    release = Kernel.get(str(trixie)).release
    spec = tmp_path / "kernel.spec"
    spec.write_text(SPEC.replace("@TREE@", str(tmp_path / "tree")).replace("@RELEASE@", release))
    settings: dict[str, str | Path] = {
        "_topdir": tmp_path / "top",
        "_dbpath": tmp_path / "db",
        "__os_install_post": "%{nil}",
        "_binary_payload": "w1.gzdio",
    }
    options = [word for name, value in settings.items() for word in ("--define", f"{name} {value}")]
    subprocess.run(["rpmbuild", "-bb", "--target=x86_64-linux", *options, spec], check=True, capture_output=True)
    (packages,) = (tmp_path / "top/RPMS").iterdir()
    assert len(list(packages.glob("*.rpm"))) == 2
    with boot("bookworm", kernel=str(packages), cold=True) as guest:
        expect_running(guest, Kernel.get(str(packages)))
