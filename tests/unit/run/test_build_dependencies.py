"""A machine with the build dependencies alone: what of an image's tools goes, and where nothing is removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vmtasks import Project, Result, build_dependencies
from vmtasks.machine.instance import QemuGuest

IMAGES = {
    "plain": 'suite = "bookworm"\npackages = ["sudo"]\n',
    "tools": 'from = "plain"\npackages = ["debhelper", "git", "sudo"]\n',
    "more": 'from = "tools"\npackages = ["cmake"]\n',
}
INSTALLED = "".join(
    f"installed\t{name}\t{provides}\n"
    for name, provides in {"sudo": "", "debhelper": "debhelper-compat (= 13)", "git": "", "cmake": ""}.items()
)


class Answers:
    """A guest in which all Build-Depends are there."""

    name = "build"
    removed: tuple[str, ...] = ()

    @contextmanager
    def tmp_dir(self) -> Iterator[str]:
        yield "/tmp/x"

    def query(self, command: Any, **_: Any) -> str:
        line = str(command)
        if "Dpkg::Control::Info" in line:
            return "Source: x\nBuild-Depends: debhelper-compat (= 13)\n"
        return INSTALLED if "dpkg-query" in line else "/usr/bin/dpkg-buildpackage"

    def run(self, command: Any, **_: Any) -> Result:
        return Result(machine="build", command=str(command), exited=0, stdout="", stderr="", duration_s=0.0)

    def succeed(self, command: Any, **_: Any) -> str:
        self.removed = tuple(command[5:])
        return ""


class OfQemu(Answers, QemuGuest):
    """The same, in a machine of QEMU's."""

    def __init__(self) -> None:
        self.name = "build"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, text in IMAGES.items():
        (tmp_path / f"{name}.toml").write_text(text)
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path))
    (tmp_path / "x").mkdir()
    (tmp_path / "x/vmtasks.toml").write_text('[images]\nbuild = "more"\n')
    return Project.load(tmp_path / "x")


def removed(project: Project, guest: Any, *, alone: bool = True) -> tuple[str, ...]:
    assert build_dependencies(project, "Build-Depends: x\n", alone=alone).run(guest) is alone
    return tuple(guest.removed)


@pytest.mark.parametrize(
    ("needs", "first", "then"),
    [
        ("Build-Depends: x\n", ("git",), ("debhelper", "cmake")),
        ("Build-Depends: libx-dev,\n debhelper-compat (= 13),\n", ("git",), ("cmake",)),
        ("Build-Depends-Indep: git (>= 1:2) | x\nBuild-Conflicts: cmake\n", (), ("debhelper", "cmake")),
        ("Build-Depends: cmake, debhelper\n", ("git",), None),
    ],
)
def test_what_hardly_any_source_names_goes_first_and_that_is_shared(
    project: Project, needs: str, first: tuple[str, ...], then: tuple[str, ...] | None
) -> None:
    guest = OfQemu()
    *steps, last = build_dependencies(project, needs, alone=True).steps
    assert [steps[0].run(guest), guest.removed] == [first != (), first]
    assert [set(guest.removed) for step in steps[1:] if step.run(guest)] == ([{*first, *then}] if then else [])
    *same, another = build_dependencies(project, f"{needs}Build-Depends-Arch: y\n", alone=True).steps
    assert [step.key for step in same] == [step.key for step in steps]
    assert last.key != another.key


def test_sources_of_all_kinds_go_on_from_the_machine_without_what_hardly_any_names(project: Project) -> None:
    kinds = ("x", "debhelper (>= 13)", "cmake", "cmake, debhelper")
    firsts = {build_dependencies(project, f"Build-Depends: {kind}\n", alone=True).steps[0].key for kind in kinds}
    assert len(firsts) == 1


def test_an_image_that_is_not_ours_is_for_its_provider_to_know(project: Project) -> None:
    (project.root / "vmtasks.toml").write_text('[images]\nbuild = "theirs"\n')
    assert build_dependencies(Project.load(project.root), "Build-Depends: x\n", alone=True).steps


def test_what_layers_add_goes_unless_it_is_declared(project: Project) -> None:
    assert removed(project, OfQemu()) == ("git", "cmake")
    assert removed(project, OfQemu(), alone=False) == ()


def test_git_stays_where_the_history_is_to_travel(project: Project) -> None:
    with_tools = build_dependencies(project, "x", alone=True)
    same_needs = (build_dependencies(project, f"Source: {name}\nBuild-Depends: x\n") for name in ("one", "two"))
    assert len({one.key for one in same_needs}) == 1, "sources that need the same share the machine"
    (project.root / "vmtasks.toml").write_text('[images]\nbuild = "more"\n[source]\ngit = true\n')
    project = Project.load(project.root)
    assert removed(project, OfQemu()) == ("cmake",)
    keys = {with_tools.key, *(build_dependencies(project, "x", alone=alone).key for alone in (True, False))}
    assert len(keys) == 3


def test_nothing_is_removed_from_what_is_no_machine_of_ours(project: Project) -> None:
    assert removed(project, Answers()) == ()
