"""The line with which a project's own makefile calls vmtasks: a real make, and an inv that tells how it was called."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "vmtasks/vmtasks.mk"
INV = """#!/usr/bin/env python3
import json, os, sys
json.dump({"in": os.getcwd(), "argv": sys.argv[1:]}, open(os.path.join(os.path.dirname(__file__), "asked"), "w"))
"""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A checkout of vmtasks, and room for projects beside it."""

    home: Path

    @property
    def asked(self) -> Path:
        return self.home / "vmtasks/.venv/bin/asked"

    def project(self, name: str, text: str = "include ../vmtasks/vmtasks/vmtasks.mk\n") -> Path:
        directory = self.home / name
        directory.mkdir(parents=True)
        (directory / "Makefile").write_text(text)
        return directory

    def make(self, directory: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        self.asked.unlink(missing_ok=True)
        return subprocess.run(
            ["make", *words],
            cwd=directory,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def source(self, directory: Path, *words: str, **environ: str) -> Path:
        """Return the directory that is tested, after a look at where its results go."""
        asked = self.called(directory, *words, **environ)
        assert Path(asked["in"]) == directory, "what is shown leads somewhere from where make was called"
        argv = asked["argv"]
        return (directory / argv[argv.index("--source") + 1]).resolve()

    def called(self, directory: Path, *words: str, **environ: str) -> dict[str, list[str]]:
        done = self.make(directory, *words, **environ)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        asked: dict[str, list[str]] = json.loads(self.asked.read_text())
        return asked


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    package = tmp_path / "vmtasks/vmtasks"
    package.mkdir(parents=True)
    shutil.copy(MAKEFILE, package)
    (package / "bootstrap.py").touch()
    inv = tmp_path / "vmtasks/.venv/bin/inv"
    inv.parent.mkdir(parents=True)
    inv.write_text(INV)
    inv.chmod(0o755)
    return Shelf(home=tmp_path)


@pytest.mark.parametrize(
    "name", ["parrot", "my project", "two  blanks", "Ünïcödé ☃", "it's", "a$$b$(x)", "#1", "a;b&c", 'say "x"', "100%"]
)
@pytest.mark.parametrize("flags", [[], ["-j2"], ["-j2", "-O"], ["-s"], ["-k"]])
def test_the_project_that_is_tested_is_that_of_the_makefile(shelf: Shelf, name: str, flags: list[str]) -> None:
    project = shelf.project(name)
    shelf.home.joinpath(name.partition(" ")[0]).mkdir(exist_ok=True)  # what a path that ends at a blank would lead to
    assert shelf.source(project, *flags, "test-in-vm") == project


def test_a_build_in_another_directory_tests_the_sources(shelf: Shelf) -> None:
    project = shelf.project("parrot")
    (build := shelf.home / "build of it").mkdir()
    assert shelf.source(build, "-f", "../parrot/Makefile", "test-in-vm") == project
    assert shelf.source(build, "-f", str(project / "Makefile"), "test-in-vm") == project


def test_a_makefile_whose_directory_cannot_be_told_is_an_error_and_no_other_tree_is_tested(shelf: Shelf) -> None:
    project = shelf.project("my project")
    (shelf.home / "my").mkdir()
    (build := shelf.home / "build").mkdir()
    for makefile in ("../my project/Makefile", str(project / "Makefile")):
        done = shelf.make(build, "-f", makefile, "test-in-vm")
        assert done.returncode == 2
        assert "cannot tell the project's directory" in done.stderr
        assert "set VMTASKS_PROJECT" in done.stderr
        assert not shelf.asked.exists()


def test_a_makefile_may_say_where_its_project_is(shelf: Shelf) -> None:
    project = shelf.project(
        "my project", "srcdir = ../my project\nVMTASKS_PROJECT = $(srcdir)\ninclude ../vmtasks/vmtasks/vmtasks.mk\n"
    )
    (build := shelf.home / "build").mkdir()
    assert shelf.source(build, "-f", "../my project/Makefile", "test-in-vm") == project


def test_a_path_to_vmtasks_with_a_blank_is_an_error(shelf: Shelf) -> None:
    (shelf.home / "vmtasks").rename(shelf.home / "my vmtasks")
    project = shelf.project("parrot", "include ../my\\ vmtasks/vmtasks/vmtasks.mk\n")
    done = shelf.make(project, "test-in-vm")
    assert done.returncode == 2
    assert "cannot include vmtasks.mk by a path with blanks" in done.stderr


def test_nothing_is_started_where_make_only_shows(shelf: Shelf) -> None:
    project = shelf.project("my project")
    done = shelf.make(project, "-n", "test-in-vm")
    assert done.returncode == 0
    assert "'../vmtasks/.venv/bin/inv' -r '../vmtasks' test-in-vm" in done.stdout
    assert not shelf.asked.exists()


def test_options_come_from_the_command_line_and_not_from_what_the_project_calls_alike(shelf: Shelf) -> None:
    project = shelf.project("parrot", "ARGS = --of-parrot\nOUT = obj\ninclude ../vmtasks/vmtasks/vmtasks.mk\n")
    argv = shelf.called(project, "test-in-vm", IMAGE="registry.example/x", KEEP="1")["argv"]
    assert argv == ["-r", "../vmtasks", "test-in-vm", "--source", "."]
    argv = shelf.called(
        project, "test-in-vm", "IMAGE=trixie", "OUT=my out", "VM_DEBUG=1", "KEEP=0", "ARGS=--cold --cpus 4"
    )["argv"]
    assert argv[5:] == ["--image", "trixie", "--out", "my out", "--shell", "--cold", "--cpus", "4"]


def test_options_reach_a_make_below(shelf: Shelf) -> None:
    project = shelf.project("parrot")
    (project / "top.mk").write_text("all:\n\t@$(MAKE) --no-print-directory test-in-vm\n")
    assert "trixie" in shelf.called(project, "-j2", "-f", "top.mk", "IMAGE=trixie")["argv"]


@pytest.mark.parametrize("text", ["{}all:\n\t@touch made\n", "all:\n\t@touch made\n{}"], ids=["first", "last"])
def test_the_projects_first_target_stays_the_default(shelf: Shelf, text: str) -> None:
    project = shelf.project("parrot", text.format("include ../vmtasks/vmtasks/vmtasks.mk\n"))
    assert shelf.make(project).returncode == 0
    assert (project / "made").exists()
    assert not shelf.asked.exists()


def test_other_recipes_are_targets_where_they_are_wanted(shelf: Shelf) -> None:
    line = "VMTASKS_TARGETS = test-in-vm build-deb\ninclude ../vmtasks/vmtasks/vmtasks.mk\n"
    assert "build-deb" in shelf.called(shelf.project("parrot", line), "build-deb")["argv"]
