"""One EC2 for all tests of this tier, and one Debian for all of its machines, which alone need root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ec2.cloud import ENVIRONMENT, Cloud, moto
from vmtasks.image.definition import find
from vmtasks.providers.ec2 import client
from vmtasks.providers.ec2.watch import Watch
from vmtasks.providers.qemu.provider import ensure_baked

GREETING = """Package: greeting
Version: 1.0
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: something to install
"""
REPOSITORY = """
mkdir -p /srv/repository
cd /srv/repository
dpkg-deb --build /srv/greeting .
apt-ftparchive packages . >Packages
rm -rf /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/repository ./' >/etc/apt/sources.list
"""


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the machines' disks are."""
    return tmp_path_factory.mktemp("disks")


@pytest.fixture(scope="session")
def endpoint(disks: Path) -> Iterator[str]:
    with moto(disks) as address:
        yield address


@contextmanager
def unpacked(image: str, path: Path) -> Iterator[Path]:
    """Yield a shipped image as a directory, with an archive of its own that has one package."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to have machines with an address of their own")
    archive = ensure_baked(find(image)).tree
    assert archive
    subprocess.run(["tar", "--zstd", "--numeric-owner", "-xpf", str(archive), "-C", str(path)], check=True)
    control = path / "srv" / "greeting" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text(GREETING)
    subprocess.run(["chroot", str(path), "sh", "-euc", REPOSITORY], check=True, capture_output=True)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield Debian as a directory."""
    with unpacked("bookworm", tmp_path_factory.mktemp("debian")) as path:
        yield path


@pytest.fixture(scope="module")
def build_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield one with what it takes to build packages."""
    with unpacked("bookworm-build", tmp_path_factory.mktemp("debian-build")) as path:
        yield path


@pytest.fixture
def api(endpoint: str, disks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Return EC2, and this process's way to it: the image ``plain`` stands for its one AMI, and no machine comes up."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(Watch, "EVERY_S", 0.2)
    monkeypatch.setattr(client, "PAUSES_S", (0.1, 0.1, 0.1, 0.1))
    images, rooms = tmp_path / "images", tmp_path / "rooms"
    images.mkdir()
    rooms.mkdir()
    (images / "plain.toml").write_text('suite = "bookworm"\n[ec2]\nowner = "self"\nname = "debian-12-*"\n')
    monkeypatch.setenv("VMTASKS_IMAGES", str(images))
    cloud = Cloud(endpoint=endpoint, rooms=rooms, disks=disks)
    cloud.post("reset")
    cloud.client.register_image(Name="debian-12-amd64-1", Architecture="x86_64", RootDeviceName="/dev/xvda")
    return cloud


@pytest.fixture
def cloud(api: Cloud, tree: Path) -> Iterator[Cloud]:
    """Yield EC2 with machines that come up."""
    with api.alive(tree):
        yield api


@pytest.fixture
def images(api: Cloud, tmp_path: Path) -> Path:
    """Return the directory of definitions."""
    assert api
    return tmp_path / "images"
