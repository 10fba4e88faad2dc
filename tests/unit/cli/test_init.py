"""What `init` writes is what was guessed, and holds; what is there stays."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest
from invoke.context import Context

from vmtasks.cli.init import init
from vmtasks.errors import UsageError
from vmtasks.project import Project
from vmtasks.project.ci import CI

CARGO = '[package]\nname = "itoa"\nversion = "1.0"\nrust-version = "1.70"\n'
PROJECTS = {
    "rust": {"Cargo.toml": CARGO},
    "python": {
        "pyproject.toml": "[project]\nname = 'a'\n[dependency-groups]\ntest = ['x; a < \"3\"']\n",
        "tests/a.py": "",
    },
    "autotools": {"configure.ac": "AC_INIT(a, 1)\n", "Makefile.am": "TESTS = a\n"},
    "autotools without tests": {"configure.ac": "AC_INIT(a, 1)\n", "Makefile.am": ""},
    "a kernel module": {"Kbuild": "obj-m := a.o\n"},
    "cmake": {"CMakeLists.txt": "project(a)\nenable_testing()\n"},
    "debian": {"debian/control": "Source: a\n", "Makefile": "dist:\ncheck:\n"},
    "nothing": {"README": ""},
}


@pytest.fixture(params=PROJECTS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for name, text in PROJECTS[request.param].items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_is_written_is_what_held_before(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Project.load(root, {})
    init(Context(), str(root))
    after = Project.load(root, {})
    for part in ("name", "version", "images", "commands", "artifacts"):
        assert getattr(after, part) == getattr(before, part)
    text = (root / "vmtasks.toml").read_text()
    tomllib.loads(text)
    assert len(text.splitlines()) < 15
    told = capsys.readouterr().out.splitlines()
    assert f"wrote  vmtasks.toml ({len(text.splitlines())} lines)" in told
    assert told[-1].startswith("next ")


def test_why_nothing_tests_it_and_whether_it_needs_root_is_written(tmp_path: Path) -> None:
    (tmp_path / "configure.ac").write_text("AC_INIT(a, 1)\n")
    (tmp_path / "Makefile.am").write_text("")
    init(Context(), str(tmp_path))
    assert "# no makefile of it has TESTS or check-local" in (tmp_path / "vmtasks.toml").read_text()
    module = tmp_path / "module"
    module.mkdir()
    (module / "Kbuild").write_text("obj-m := a.o\n")
    init(Context(), str(module))
    assert tomllib.loads((module / "vmtasks.toml").read_text())["commands"]["as_root"] is True


def test_a_package_is_still_built_from_its_source_package(tmp_path: Path) -> None:
    for name, text in PROJECTS["debian"].items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    init(Context(), str(tmp_path))
    assert not Project.load(tmp_path, {}).has_own_dist


@pytest.mark.parametrize("name", CI)
def test_the_file_for_a_ci_comes_along_and_what_to_do_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    if name == "salsa":
        with pytest.raises(UsageError, match="has no debian/control: what Salsa CI runs is for Debian packages"):
            init(Context(), str(tmp_path), ci=name, make=True)
        assert not any(tmp_path.iterdir())
        (tmp_path / "debian").mkdir()
        (tmp_path / "debian/control").write_text("Source: a\n")
    init(Context(), str(tmp_path), ci=name, make=True)
    written = (tmp_path / CI[name].path).read_text()
    assert '"vmtasks", "test"' in written or "vmtasks test\n" in written
    assert "vmtasks test" in (tmp_path / "vmtasks.mk").read_text()
    told = capsys.readouterr().out
    assert f"then   {CI[name].then}" in told
    assert "wrote  vmtasks.mk" in told
    if name == "buildbot":
        ast.parse(written)


def test_what_is_there_stays_and_nothing_else_is_written_then(tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text("mine\n")
    with pytest.raises(UsageError, match=r"cannot write .gitlab-ci.yml: it is there already") as refused:
        init(Context(), str(tmp_path), ci="gitlab")
    assert "    - vmtasks test" in refused.value.details  # to be taken over by hand
    assert [path.name for path in tmp_path.iterdir()] == [".gitlab-ci.yml"]
    (tmp_path / "vmtasks.toml").symlink_to("nowhere")
    with pytest.raises(UsageError, match="cannot"):
        init(Context(), str(tmp_path))
    assert not (tmp_path / "nowhere").exists()


def test_a_ci_file_can_come_later(tmp_path: Path) -> None:
    init(Context(), str(tmp_path))
    init(Context(), str(tmp_path), ci="github")
    assert (tmp_path / ".github/workflows/in-vm.yml").is_file()
    with pytest.raises(UsageError, match=r"cannot write vmtasks\.toml: it is there already"):
        init(Context(), str(tmp_path))


def test_an_unknown_ci_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no CI 'jenkins'.*; known are github, gitlab, salsa, buildbot"):
        init(Context(), str(tmp_path), ci="jenkins")
