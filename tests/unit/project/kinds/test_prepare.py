"""What each kind has installed once, and by which of a project's files it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmtasks
from vmtasks.errors import UsageError
from vmtasks.project import Project
from vmtasks.project.detect import detect
from vmtasks.project.kinds.cargo_fetch import fetch
from vmtasks.project.kinds.kind import Tree, Way

CRATE = "[package]\nname = 'a'\n[dependencies]\nb = '1'\n"
INSTALL = "python3 -m pip install --no-warn-script-location "


def way(root: Path, files: dict[str, str]) -> Way:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return detect(root).test


def package(**more: object) -> str:
    return json.dumps({"name": "n", "scripts": {"test": "mocha"}, "devDependencies": {"mocha": "^10"}, **more})


@pytest.mark.parametrize(
    ("files", "prepare", "prepare_files"),
    [
        ({"go.mod": "module a\nrequire b v1\n"}, "go mod download", ("go.mod", "go.sum")),
        ({"go.mod": "module a\n"}, "", ()),
        ({"go.mod": "module a\nrequire b v1\n", "vendor/modules.txt": ""}, "", ()),
        ({"go.mod": "module a\nrequire b v1\nreplace b => ../b\n"}, "", ()),
        ({"package.json": package()}, "npm install --no-audit --no-fund", ("package.json",)),
        (
            {"package.json": package(), "package-lock.json": "{}", ".npmrc": ""},
            "npm ci --no-audit --no-fund",
            ("package.json", "package-lock.json", ".npmrc"),
        ),
        (
            {"package.json": package(scripts={"test": "t", "prepare": "p"}), "pnpm-lock.yaml": ""},
            "rm -rf ../.npm && mkdir ../.npm && cp package.json pnpm-lock.yaml ../.npm && cd ../.npm && "
            'npm pkg delete scripts && npx --yes pnpm install --frozen-lockfile && mv node_modules "$OLDPWD"',
            ("package.json", "pnpm-lock.yaml"),
        ),
        ({"package.json": package(devDependencies={})}, "", ()),
        ({"package.json": package(workspaces=["a"])}, "", ()),
        ({"package.json": package(dependencies={"a": "file:../a"})}, "", ()),
        ({"package.json": package(), "node_modules/a": ""}, "", ()),
        ({"Cargo.toml": "[package]\nname = 'a'\n"}, "", ()),
        ({"Cargo.toml": CRATE, "vendor/b/Cargo.toml": ""}, "", ()),
        ({"Cargo.toml": f"{CRATE}[workspace]\nmembers = ['crates/**x']\n"}, "", ()),
        ({"Cargo.toml": f"{CRATE}[workspace]\nmembers = ['**']\n", "b/Cargo.toml": ""}, "", ()),
        ({"Cargo.toml": f"{CRATE}[workspace]\nmembers = ['b']\n", "b/Cargo.toml": "no TOML"}, "", ()),
        ({"Cargo.toml": f"{CRATE}[workspace]\nmembers = ['{'b' * 300}']\n"}, "", ()),
        ({"Cargo.toml": f"{CRATE}[[bench]]\nname = 'x'\npath = '../x.rs'\n"}, "", ()),
    ],
)
def test_what_is_installed_once_and_what_decides_it(
    tmp_path: Path, files: dict[str, str], prepare: str, prepare_files: tuple[str, ...]
) -> None:
    found = way(tmp_path, files)
    assert found.line
    assert (found.prepare, found.prepare_files) == (prepare, prepare_files)


def test_a_crate_is_kept_by_its_manifests_and_its_lock(tmp_path: Path) -> None:
    found = way(tmp_path, {"Cargo.toml": CRATE, "Cargo.lock": "version = 3\n", ".cargo/config.toml": ""})
    assert found.prepare.endswith(" && install -D /dev/null src/lib.rs && cargo fetch --locked")
    assert found.prepare_files == ("Cargo.toml", "Cargo.lock", ".cargo/config.toml")


def test_of_a_workspace_no_more_members_are_looked_for_than_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = 0

    def endless(root: Path, pattern: str) -> Iterator[Path]:
        nonlocal found
        for found in range(1, 1_000_000):
            yield root / f"b{found}" / pattern.rpartition("/")[2]

    monkeypatch.setattr(Path, "glob", endless)
    tree = Tree(tmp_path)
    assert fetch(tree, {"workspace": {"members": ["*"]}}) is None
    assert found < 300


def test_a_packages_own_scripts_wait_until_it_is_there(tmp_path: Path) -> None:
    scripts = {"test": "t", "preinstall": "a", "postinstall": "b", "prepare": "c", "preprepare": "d"}
    found = way(tmp_path, {"package.json": package(scripts=scripts), "package-lock.json": "{}"})
    assert found.line == (
        "if [ -d node_modules ]; then npm run preinstall && npm run postinstall && npm run prepare; "
        "else npm ci --no-audit --no-fund; fi && npm test"
    )


PYTHON = {
    "what the metadata say": (
        {"pyproject.toml": "[project]\nname = 'p'\ndependencies = ['a>=1']\n[project.optional-dependencies]\n"
                           "test = ['b', 'P[more]']\nmore = ['c', 'p[test]']\ndocs = ['d']\n"},
        "'a>=1' b c", (),
    ),
    "a group": (
        {"pyproject.toml": "[project]\nname = 'p'\n[project.optional-dependencies]\nx = ['b']\n"
                           "[dependency-groups]\ndev = ['pytest>=8', 'p[x]']\n"},
        "'pytest>=8' b", (),
    ),
    "what builds it, unless Debian has any": (
        {"pyproject.toml": "[build-system]\nrequires = ['setuptools>=77', 'wheel', 'calver']\n"},
        "'setuptools>=77' calver", (),
    ),
    "lists that include others": (
        {"setup.py": "", "requirements/test.txt": "-r base.txt\n-c ../limits.txt\npytest\n",
         "requirements/base.txt": "a\n", "limits.txt": "a<2\n"},
        "--requirement requirements/test.txt", ("requirements/test.txt", "limits.txt", "requirements/base.txt"),
    ),
    "setup.cfg": (
        {"setup.py": "", "setup.cfg": "[options]\ninstall_requires =\n  a\n  b; python_version < '3'\n"
                                      "[options.extras_require]\ntesting =\n  c\n"},
        """a 'b; python_version < '"'"'3'"'"'' c""", (),
    ),
    "a release": (
        {"setup.py": "", "setup.cfg": "[options.extras_require]\ntest = file: x\n",
         "PKG-INFO": 'Name: p\nRequires-Dist: a (>=1)\nRequires-Dist: b; extra == "test"\n'
                     "Requires-Dist: c; (os_name == 'nt') and extra == 'test'\nRequires-Dist: d; extra == 'docs'\n\n"
                     "Requires-Dist: none\n"},
        """'a (>=1)' b 'c ; (os_name == '"'"'nt'"'"')'""", (),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "wanted", "prepare_files"), PYTHON.values(), ids=PYTHON)
def test_a_python_projects_requirements_are_installed_and_it_is_not(
    tmp_path: Path, files: dict[str, str], wanted: str, prepare_files: tuple[str, ...]
) -> None:
    found = way(tmp_path, {"tests/test_a.py": "import pytest\n", **files})
    assert found.prepare.endswith(f" && {INSTALL}{wanted}")
    assert found.prepare_files == prepare_files


def test_a_python_projects_lock_decides_the_versions(tmp_path: Path) -> None:
    poetry = "[tool.poetry.dependencies]\npython = '^3.9'\na = '^1'\nb = {version = '*', optional = true}\n"
    found = way(tmp_path, {"tests/test_a.py": "", "pyproject.toml": f"[build-system]\n{poetry}", "poetry.lock": ""})
    assert " poetry.lock package >../constraints.txt && " in found.prepare
    assert found.prepare.endswith(f"{INSTALL}--constraint ../constraints.txt a")
    assert found.prepare_files == ("poetry.lock",)


def test_what_builds_a_python_project_is_none_of_its_locks_business(tmp_path: Path) -> None:
    text = "[build-system]\nrequires = ['setuptools>=77']\n[project]\nname = 'p'\ndependencies = ['a']\n"
    found = way(tmp_path, {"tests/test_a.py": "", "pyproject.toml": text, "uv.lock": ""})
    builders, pins, requirements = found.prepare.split(" && ")[-3:]
    assert builders == f"{INSTALL}'setuptools>=77'"
    assert pins.endswith(" >../constraints.txt")
    assert requirements == f"{INSTALL}--constraint ../constraints.txt a"


@pytest.mark.parametrize(
    "entry",
    [
        "{path = '../b'}", "{git = 'https://example.org/b'}", "{url = 'https://example.org/b.whl'}", "{file = 'b.whl'}",
        "{version = '^1', source = 'ours'}", "[{version = '^1', python = '<3.9'}, {path = '../b', python = '>=3.9'}]",
    ],
)  # fmt: skip
def test_what_poetry_has_from_elsewhere_is_not_looked_for_in_the_index(tmp_path: Path, entry: str) -> None:
    poetry = f"[tool.poetry.dependencies]\na = '^1'\nb = {entry}\n[tool.poetry.group.test.dependencies]\nb = {entry}\n"
    found = way(tmp_path, {"tests/test_a.py": "", "pyproject.toml": f"[build-system]\n{poetry}", "poetry.lock": ""})
    assert found.prepare.endswith(" a")
    assert "--no-warn-script-location . && " in found.line


TOX = {
    "a name": (
        "deps =\n    pytest\n    py311: a[b]>=1 ; python_version < '3'\n    {[base]deps}\n    -e git+ssh://g/h",
        True,
    ),
    "an address": ("deps = a @ https://example.org/a.zip", True),
    "a list": ("deps = -rrequirements.txt", True),
    "itself": ("skip_install = true\ndeps = -e .", False),
    "itself, with an extra": ("deps =\n    pytest\n    .[dev]", False),
    "for some environments": ("deps =\n    py311,!cov: -e .[dev]", False),
    "its root": ("deps = {toxinidir}[dev]", False),
    "in its root": ("deps = --editable={tox_root}{/}sub", False),
    "a directory of it": ("deps = sub/dir", False),
    "by default": ("deps = {env:PACKAGE:./}", False),
    "a file's address": ("deps = a @ file:///build/a", False),
    "a list that names it": ("deps = -r{toxinidir}/needs/test.txt", False),
    "a list in a directory's place": ("deps = -r tests", False),
}


@pytest.mark.parametrize(("text", "is_kept"), TOX.values(), ids=TOX)
def test_where_tox_installs_more_than_names_nothing_is_kept(tmp_path: Path, text: str, is_kept: bool) -> None:
    lists = {
        "requirements.txt": "a\n# -e .\n",
        "needs/test.txt": "-r base.txt\n",
        "needs/base.txt": "a\n-e .\n",
    }
    found = way(
        tmp_path, {"tests/test_a.py": "", "setup.py": "", "tox.ini": f"[testenv]\ncommands = pytest\n{text}\n", **lists}
    )
    assert "tox run" in found.line
    assert bool(found.prepare) is is_kept


def test_what_uv_has_from_elsewhere_is_not_looked_for_in_the_index(tmp_path: Path) -> None:
    text = (
        "[project]\nname = 'p'\ndependencies = ['a', 'b', 'c']\n[tool.uv.workspace]\nmembers = ['packages/*']\n"
        "[tool.uv.sources]\nb = {workspace = true}\nc = {path = 'c'}\n"
    )
    member = "[project]\nname = 'B'\n"
    files = {"pyproject.toml": text, "packages/x/pyproject.toml": member, "c/setup.py": "", "tests/test_a.py": ""}
    found = way(tmp_path, files)
    assert " --no-warn-script-location . ./c ./packages/x && " in found.line
    assert not found.prepare


@pytest.mark.parametrize("source", ["{workspace = true}", "{path = '../b'}", "{git = 'https://example.org/b'}"])
def test_a_strangers_package_is_never_taken_for_what_uv_has_elsewhere(tmp_path: Path, source: str) -> None:
    text = f"[project]\nname = 'p'\ndependencies = ['B>=1']\n[tool.uv.sources]\nb = {source}\nunused = {source}\n"
    found = way(tmp_path, {"pyproject.toml": text, "tests/test_a.py": "", "tox.ini": "[testenv]\ncommands = a\n"})
    assert not found.line
    with pytest.raises(UsageError, match=r"has b from elsewhere than the index") as refused:
        vmtasks.test_command(Project.load(tmp_path, {}))
    assert "say one in vmtasks.toml" in str(refused.value.hint)


def test_a_list_that_names_the_project_is_not_kept(tmp_path: Path) -> None:
    found = way(tmp_path, {"tests/test_a.py": "", "setup.py": "", "requirements-dev.txt": "pytest\n-e .\n"})
    assert found.line
    assert not found.prepare


def test_a_python_project_that_needs_nothing_has_nothing_kept(tmp_path: Path) -> None:
    found = way(tmp_path, {"test_six.py": "import pytest\n", "setup.py": ""})
    assert found.line.endswith("python3 -P -m pytest")
    assert not found.prepare


@pytest.mark.parametrize(
    "files",
    [
        {"setup.py": "setup(ext_modules=[Extension('a', ['a.c'])])\n"},
        {"pyproject.toml": "[tool.setuptools]\next-modules = []\n[build-system]\nrequires = ['setuptools']\n"},
        {"pyproject.toml": "[build-system]\nrequires = ['Cython']\n"},
    ],
)
def test_what_compiles_needs_pythons_headers(tmp_path: Path, files: dict[str, str]) -> None:
    way(tmp_path, files)
    assert "python3-dev" in detect(tmp_path).packages


@pytest.mark.parametrize(("version", "suite"), [("3", "bookworm"), ("4", "trixie")])
def test_a_lock_that_only_a_newer_cargo_reads_decides_the_image(tmp_path: Path, version: str, suite: str) -> None:
    way(tmp_path, {"Cargo.toml": CRATE, "Cargo.lock": f"version = {version}\n"})
    assert detect(tmp_path).suite == suite


def test_programs_that_meson_looks_for_are_installed(tmp_path: Path) -> None:
    way(tmp_path, {"meson.build": "project('d', 'c')\nnasm = find_program('nasm')\ntest('a', a)\n"})
    assert "nasm" in detect(tmp_path).packages
