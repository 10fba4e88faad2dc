"""What a bake writes into the tree, and where: no namespaces and no Debian, just directories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks.errors import HostError
from vmtasks.host import capacity
from vmtasks.image import mmdebstrap
from vmtasks.image.definition import overlay_links
from vmtasks.image.rootfs import RootfsBuilder, StageError, by_version


@pytest.fixture
def stage(tmp_path: Path) -> RootfsBuilder:
    made = RootfsBuilder({"scratch": str(tmp_path / "scratch"), "out": str(tmp_path)})
    for name, mode in (("usr/bin", 0o755), ("etc/sudoers.d", 0o750), ("tmp", 0o1777)):
        path = Path(made.path(name))
        path.mkdir(parents=True)
        path.chmod(mode)
    Path(made.path("bin")).symlink_to("usr/bin")
    return made


@pytest.fixture(params=[0o022, 0o077, 0o002])
def overlay(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return a tree that was checked out with some umask."""
    path = tmp_path / "overlay"
    before = os.umask(request.param)
    for name in ("etc/new/f", "etc/sudoers.d/f", "tmp/f", "bin/f"):
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (path / "bin" / "f").chmod(0o777 & ~request.param)
    (path / "link").symlink_to("etc/new")
    os.umask(0o022)  # as the stage has it
    yield path
    os.umask(before)


def mode(stage: RootfsBuilder, name: str) -> int:
    return Path(stage.path(name)).lstat().st_mode & 0o7777


def test_what_is_laid_over_the_tree_has_modes_that_no_umask_changes(stage: RootfsBuilder, overlay: Path) -> None:
    stage.lay_over(str(overlay), overlay_links(overlay))
    modes = {name: mode(stage, name) for name in ("etc/new", "etc/new/f", "etc/sudoers.d/f", "tmp/f", "usr/bin/f")}
    assert modes == {
        "etc/new": 0o755, "etc/new/f": 0o644, "etc/sudoers.d/f": 0o644, "tmp/f": 0o644, "usr/bin/f": 0o755,
    }  # fmt: skip
    assert Path(stage.path("usr/bin/f")).read_text() == "bin/f", "a link in the tree leads to its place"
    assert Path(stage.path("bin")).is_symlink()
    assert os.readlink(stage.path("link")) == "etc/new"  # noqa: PTH115 - a plain string, as the stage has them


def test_directories_that_the_tree_has_stay_as_they_are(stage: RootfsBuilder, overlay: Path) -> None:
    before = {name: mode(stage, name) for name in ("", "etc", "etc/sudoers.d", "tmp", "usr/bin")}
    stage.lay_over(str(overlay), overlay_links(overlay))
    assert {name: mode(stage, name) for name in before} == before


def test_laying_it_over_twice_changes_nothing(stage: RootfsBuilder, overlay: Path) -> None:
    stage.lay_over(str(overlay), overlay_links(overlay))
    stage.lay_over(str(overlay), overlay_links(overlay))
    assert Path(stage.path("etc/new/f")).read_text() == "etc/new/f"


def test_nothing_is_written_through_a_link_that_leads_out_of_the_tree(stage: RootfsBuilder, tmp_path: Path) -> None:
    Path(stage.path("run")).symlink_to(tmp_path)
    with pytest.raises(StageError, match="cannot write /run/new/f: a link on its way leads out of the tree"):
        stage.write("/run/new/f", "content")
    assert not (tmp_path / "new").exists()


def test_the_tree_may_be_as_large_as_three_quarters_of_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "memory_available_mib", lambda: 1000)
    assert mmdebstrap._scratch_mib() == 750
    monkeypatch.setattr(capacity, "memory_available_mib", lambda: 0)
    with pytest.raises(HostError, match="how much memory there is"):
        mmdebstrap._scratch_mib()


def test_the_newest_kernel_is_booted() -> None:
    kernels = ["6.12.9+bpo-cloud-amd64", "6.1.0-40-cloud-amd64", "6.9.7+bpo-cloud-amd64", "6.1.0-9-cloud-amd64"]
    assert sorted(kernels, key=by_version) == [
        "6.1.0-9-cloud-amd64", "6.1.0-40-cloud-amd64", "6.9.7+bpo-cloud-amd64", "6.12.9+bpo-cloud-amd64",
    ]  # fmt: skip
