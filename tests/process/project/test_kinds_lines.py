"""The lines by which kinds fetch what tests need, as a shell and Python read them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from vmtasks.project.detect import detect
from vmtasks.project.kinds.kind import Tree, Way
from vmtasks.project.kinds.python_requirements import lock_of

LOCKS = {
    "uv.lock": """
version = 1
[[package]]
name = "app"
version = "1"
source = { editable = "." }
[[package]]
name = "numpy"
version = "1.26"
source = { registry = "https://example.org/simple" }
[[package]]
name = "numpy"
version = "2.0"
source = { registry = "https://example.org/simple" }
[[package]]
name = "six"
version = "1.17.0"
source = { registry = "https://example.org/simple" }
sdist = { url = "https://example.org/six.tar.gz" }
[[package]]
name = "torch"
version = "2.3.0+cpu"
source = { registry = "https://example.org/cpu" }
[[package]]
name = "fork"
version = "3"
source = { git = "https://example.org/fork" }
""",
    "poetry.lock": """
[[package]]
name = "six"
version = "1.17.0"
files = []
[[package]]
name = "fork"
version = "3"
[package.source]
type = "git"
url = "https://example.org/fork"
""",
    "pylock.toml": """
lock-version = "1.0"
[[packages]]
name = "six"
version = "1.17.0"
[[packages]]
name = "app"
directory = { path = "." }
""",
}


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("name", LOCKS)
def test_of_a_lock_the_versions_from_an_index_are_pins(tmp_path: Path, name: str) -> None:
    found, line = lock_of(Tree(write(tmp_path, {name: LOCKS[name]})))
    assert found == name
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["six==1.17.0", *(["torch==2.3.0"] if "torch" in LOCKS[name] else [])]


HOSTILE = 'it\'s $(touch never); "x"'
TREES = {
    "a crate": {"Cargo.toml": f"""
[package]
name = "a"
build = "build me.rs"
[dependencies]
b = "1"
[[bench]]
name = {json.dumps(HOSTILE)}
[[bin]]
name = "tool"
path = "tools/one/main.rs"
"""},
    "a workspace": {
        "Cargo.toml": "[workspace]\nmembers = ['crates/*', '../out']\n",
        "Cargo.lock": "version = 3\n",
        "crates/one/Cargo.toml": "[package]\nname = 'one'\n[dependencies]\nb = '1'\n",
        "crates/two/Cargo.toml": "[package]\nname = 'two'\n",
        "crates/none/README": "",
    },
    "a crate that depends on one beside it": {
        "Cargo.toml": "[package]\nname = 'a'\n[dependencies]\nmacros = { path = 'macros' }\n",
        "macros/Cargo.toml": "[package]\nname = 'macros'\n[lib]\npath = 'lib.rs'\n",
    },
    "python": {
        "pyproject.toml": (
            "[build-system]\nrequires = ['setuptools>=61']\n"
            f"[project]\nname = 'p'\ndependencies = [{json.dumps(HOSTILE)}]\n"
        ),
        "uv.lock": LOCKS["uv.lock"],
        "tests/test_a.py": "",
    },
    "tox": {"setup.py": "", "tests/test_a.py": "", "tox.ini": "[testenv]\ncommands = pytest\n"},
    "a list of requirements": {"requirements.txt": "six\n", "tests/test_a.py": ""},
    "node": {
        "package.json": (
            '{"name": "n", "scripts": {"test": "t", "prepare": "p", "postinstall": "i"}, "devDependencies": {"a": "1"}}'
        ),
        "yarn.lock": "",
    },
}  # fmt: skip


def way(root: Path, files: Mapping[str, str]) -> Way:
    found = detect(write(root, files)).test
    assert found.prepare
    return found


@pytest.mark.parametrize("name", TREES)
def test_a_shell_can_read_each_line(tmp_path: Path, name: str) -> None:
    found = way(tmp_path, TREES[name])
    for line in (found.line, found.prepare):
        done = subprocess.run(["sh", "-n", "-c", line], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


CARGO = """#!/bin/sh
find . -name '*.rs' -size 0 | sort
echo "cargo $*"
[ -e Cargo.lock ] || echo made >Cargo.lock
"""


def fetched(root: Path, files: Mapping[str, str]) -> list[str]:
    """Run what fetches a crate's dependencies with a cargo that shows which sources it would see."""
    found = way(root / "project", files)
    bare = root / "bare"
    for name in found.prepare_files:
        write(bare, {name: files[name]})
    write(root / "bin", {"cargo": CARGO})
    (root / "bin" / "cargo").chmod(0o755)
    env = {"PATH": f"{root / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(root)}
    done = subprocess.run(
        ["sh", "-c", found.prepare],
        cwd=bare,
        env=env,
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert not [*bare.rglob("*.rs")]
    assert not [*root.rglob("never")]
    return done.stdout.splitlines()


@pytest.mark.parametrize(("recipe", "status"), [("touch $(M)/a.ko", 0), ("true", 1)])
def test_a_kernel_module_for_which_nothing_is_built_fails(tmp_path: Path, recipe: str, status: int) -> None:
    headers, project = tmp_path / "headers", tmp_path / "project"
    headers.mkdir()
    (headers / "Makefile").write_text(f"modules:\n\t{recipe}\n")
    line = detect(write(project, {"Kbuild": "# obj-m\nobj-$(CONFIG_A) += a.o\n"})).test.line
    _, _, rest = line.partition(' M="$PWD"')
    assert rest
    command = ["sh", "-c", f'make -C {headers} M="$PWD"{rest}']
    done = subprocess.run(command, check=False, cwd=project, capture_output=True)
    assert (done.returncode, b"No module was built" in done.stderr) == (status, status != 0)


def test_cargo_finds_an_empty_file_for_each_target_and_the_project_none(tmp_path: Path) -> None:
    assert fetched(tmp_path, TREES["a crate"]) == [
        f"./benches/{HOSTILE}.rs", "./build me.rs", "./src/lib.rs", "./tools/one/main.rs", "cargo fetch",
    ]  # fmt: skip
    assert (tmp_path / "bare" / "Cargo.lock").read_text() == "made\n"


def test_each_member_of_a_workspace_has_its_manifest_and_a_target(tmp_path: Path) -> None:
    assert fetched(tmp_path, TREES["a workspace"]) == [
        "./crates/one/src/lib.rs", "./crates/two/src/lib.rs", "cargo fetch --locked",
    ]  # fmt: skip


def test_a_crate_beside_it_is_a_member_too(tmp_path: Path) -> None:
    found = fetched(tmp_path, TREES["a crate that depends on one beside it"])
    assert found == ["./macros/lib.rs", "./src/lib.rs", "cargo fetch"]


NPM = """#!/bin/sh
case $* in
    "pkg delete scripts") echo '{}' >package.json ;;
    "ci "*) grep scripts package.json && exit 9; ls >&2; mkdir node_modules ;;
    *) echo "$*" ;;
esac
"""


def test_npm_sees_none_of_the_packages_scripts_before_it_is_there_and_all_of_them_later(tmp_path: Path) -> None:
    scripts = '{"name": "n", "scripts": {"test": "t", "prepare": "p"}, "devDependencies": {"a": "1"}}'
    whole = write(tmp_path / "whole", {"package.json": scripts, "package-lock.json": "{}", "index.js": ""})
    found = detect(whole).test
    write(tmp_path / "bin", {"npm": NPM})
    (tmp_path / "bin" / "npm").chmod(0o755)
    env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    for _ in range(2):  # in all of the tree, as if what decides had not been enough
        if (whole / "node_modules").exists():
            (whole / "node_modules").rmdir()
        done = subprocess.run(
            ["sh", "-c", found.prepare], cwd=whole, env=env, capture_output=True, text=True, check=True
        )
        assert done.stderr.split() == ["package-lock.json", "package.json"]
        assert (whole / "node_modules").is_dir()
        assert (whole / "package.json").read_text() == scripts
    done = subprocess.run(["sh", "-c", found.line], cwd=whole, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["run prepare", "test"]
