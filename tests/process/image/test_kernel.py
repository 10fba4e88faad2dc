"""A kernel that comes as a file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.image import kernel
from vmtasks.image.baked import key_of
from vmtasks.image.definition import find
from vmtasks.image.kernel import with_kernel
from vmtasks.process.threads import parallel


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))


def package(room: Path, *releases: str) -> Path:
    tree = room / f"tree{len(releases)}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "boot").mkdir()
    for release in releases:
        (tree / f"boot/vmlinuz-{release}").write_text("an image\n")
    (tree / "DEBIAN/control").write_text(
        "Package: linux-image-own\nVersion: 1-1\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: k\n"
    )
    made = room / f"any name {len(releases)}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, made], check=True, stdout=subprocess.DEVNULL)
    return made


def test_a_file_is_kept_by_its_content_and_its_place_does_not_matter(tmp_path: Path) -> None:
    image = find("bookworm")
    deb = package(tmp_path, "6.1.0-own")
    layer = with_kernel(image, str(deb))
    assert layer.name.startswith("bookworm+linux-image-own-")
    assert [path.read_bytes() for path in layer.sources()] == [deb.read_bytes()]
    moved = deb.rename(tmp_path / "linux.deb")
    assert key_of(with_kernel(image, str(moved))) == key_of(layer)
    assert not list((tmp_path / "cache/kernels").glob(".*.part"))


@pytest.mark.parametrize(
    ("releases", "says"), [((), "has no kernel"), (("6.1", "6.12"), "has several kernels: 6.1, 6.12")]
)
def test_a_package_with_another_number_of_kernels_is_a_sentence(
    releases: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        with_kernel(find("bookworm"), str(package(tmp_path, *releases)))


def test_several_machines_at_once_keep_one_file(tmp_path: Path) -> None:
    deb, image = package(tmp_path, "6.1.0-own"), find("bookworm")
    layers: list[str] = []
    parallel(*[lambda: layers.append(with_kernel(image, str(deb)).name)] * 4)
    assert len(layers) == 4
    assert len(set(layers)) == 1


def test_a_file_goes_when_it_has_not_served_for_long(tmp_path: Path) -> None:
    deb = package(tmp_path, "6.1.0-own")
    (path,) = with_kernel(find("bookworm"), str(deb)).sources()
    assert kernel.prune() == 0
    assert path.exists()
    os.utime(path.with_name("in-use"), (1, 1))
    assert kernel.prune() > 0
    assert not path.parent.exists()
    with_kernel(find("bookworm"), str(deb))
    assert kernel.prune(everything=True) > 0
