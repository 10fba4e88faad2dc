"""What kind of project a tree is, and how it is tested: trees with the files that real projects of the kind have."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.project import Project
from vmtasks.project.detect import detect
from vmtasks.project.kinds.suites import suite_with


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


CARGO = '[package]\nname = "itoa"\nversion = "1.0.1"\n'
PYPROJECT = "[build-system]\nrequires = ['hatchling']\n[project]\nname = 'snake'\nversion = '2'\n"
CMAKE = "cmake_minimum_required(VERSION 3.5...3.27)\nproject(Fmt\n  VERSION 9.1.0 LANGUAGES CXX)\n"
MESON = "project('json glib', 'c',\n  version: '1.6.6',\n  meson_version: '>= 0.55',\n)\n"
NEWEST = "ls -d /lib/modules/*/build | sort -V | tail -n 1"
IN_KERNEL = f'make -C "$(ls -d "/lib/modules/$(uname -r)/build" 2>/dev/null || {NEWEST})"'

KINDS = {
    "make": ({"Makefile": "check: all\n\t./run\n"}, "a project with a makefile (Makefile)", "make check"),
    "automake": (
        {"configure.ac": "AC_INIT([yaml], [YAML_MAJOR.0])\n", "Makefile.am": "", "configure": "", "Makefile.in": ""},
        "an Autotools project (configure.ac)",
        "autoreconf --force --install && ./configure && make check",
    ),
    "autoconf alone": (
        {"configure.in": "AC_INIT(pv, 1.6)\n", "configure": "", "Makefile.in": "test: all\n"},
        "an Autotools project (configure.in)",
        "./configure && make test",
    ),
    "a configure by hand": (
        {"configure": "#!/bin/sh\n", "Makefile.in": "check: test\n", "CMakeLists.txt": CMAKE},
        "an Autotools project (configure)",
        "./configure && make check",
    ),
    "cmake": (
        {"CMakeLists.txt": CMAKE + "include(CTest)\n"},
        "a CMake project (CMakeLists.txt)",
        "cmake -S . -B ../build -DBUILD_TESTING=ON && ",
    ),
    "cmake with tests below": (
        {"CMakeLists.txt": CMAKE, "test/CMakeLists.txt": "ADD_TEST(NAME a COMMAND a)\n"},
        "a CMake project (CMakeLists.txt)",
        "cmake ",
    ),
    "a makefile that CMake made": (
        {"CMakeLists.txt": CMAKE + "enable_testing()\n", "Makefile": "# CMAKE generated file\ntest:\n\tctest\n"},
        "a CMake project (CMakeLists.txt)",
        "cmake ",
    ),
    "meson": (
        {
            "meson.build": f"{MESON}subdir('lib')\n",
            "lib/meson.build": "subdir('tests')\n",
            "lib/tests/meson.build": "test('a', a)\n",
        },
        "a Meson project (meson.build)",
        "meson setup ../build && meson test",
    ),
    "meson without tests, beside cmake with some": (
        {"meson.build": f"{MESON}# test('a')\nsubdir('..')\n", "CMakeLists.txt": CMAKE + "enable_testing()\n"},
        "a CMake project (CMakeLists.txt)",
        "cmake ",
    ),
    "rust": ({"Cargo.toml": CARGO, "Makefile": "test:\n\tdocker\n"}, "a Rust crate (Cargo.toml)", "cargo test"),
    "a rust workspace": (
        {"Cargo.toml": "[workspace]\nmembers = ['a']\n", "Cargo.lock": ""},
        "a workspace of Rust crates (Cargo.toml)",
        "cargo test --workspace --locked",
    ),
    "python in rust": (
        {
            "Cargo.toml": CARGO,
            "pyproject.toml": "[build-system]\nrequires = ['maturin']\n[project]\nname='r'\n",
            "tests/a": "",
        },
        "a Python package (pyproject.toml)",
        "python3 -m venv",
    ),
    "go": ({"go.mod": "module example.org/uuid/v2\n\ngo 1.19\n"}, "a Go module (go.mod)", "go test ./..."),
    "a workspace of go": (
        {
            "go.work": "go 1.22\n\nuse (\n\t./cmd // the program\n\t./lib\n)\nuse ../out\nuse ./c\n",
            "cmd/go.mod": "module a\n",
        },
        "a workspace of Go modules (go.work)",
        "go test ./cmd/... ./lib/... ./c/...",
    ),
    "a go module in a workspace": (
        {"go.mod": "module a\n", "go.work": "use .\nuse ./b\n"},
        "a Go module (go.mod)",
        "go test ./... ./b/...",
    ),
    "node with yarn 4": (
        {
            "package.json": '{"name": "a", "packageManager": "yarn@4.5.0+sha224.1", "scripts": {"test": "jest"}}',
            "yarn.lock": "# made\n\n__metadata:\n  version: 8\n",
        },
        "a Node package (package.json)",
        "npx --yes @yarnpkg/cli-dist@4.5.0 install --immutable && npx --yes @yarnpkg/cli-dist@4.5.0 run test",
    ),
    "node with a lock of yarn 3": (
        {"package.json": '{"name": "a", "scripts": {"test": "t"}}', "yarn.lock": "__metadata:\n  version: 6\n"},
        "a Node package (package.json)",
        "npx --yes @yarnpkg/cli-dist@3 install --immutable && npx --yes @yarnpkg/cli-dist@3 run test",
    ),
    "node with a lock of a yarn to come": (
        {"package.json": '{"name": "a", "scripts": {"test": "t"}}', "yarn.lock": "__metadata:\n  version: 99\n"},
        "a Node package (package.json)",
        "npx --yes @yarnpkg/cli-dist@4 install && npx --yes @yarnpkg/cli-dist@4 run test",
    ),
    "node with yarn 1": (
        {
            "package.json": '{"name": "a", "packageManager": "yarn@1.22.22", "scripts": {"test": "t"}}',
            "yarn.lock": "",
        },
        "a Node package (package.json)",
        "npx --yes yarn install --frozen-lockfile && npx yarn test",
    ),
    "node": (
        {"package.json": '{"name": "ms", "version": "2.1.3", "scripts": {"test": "mocha"}}', "package-lock.json": "{}"},
        "a Node package (package.json)",
        "npm ci --no-audit --no-fund && npm test",
    ),
    "node with another's lock": (
        {"package.json": '{"name": "@me/ms", "scripts": {"test": "jest"}}', "yarn.lock": ""},
        "a Node package (package.json)",
        "npx --yes yarn install --frozen-lockfile && npx yarn test",
    ),
    "node with a makefile for what npm installs": (
        {
            "package.json": '{"name": "isarray", "scripts": {"test": "tape test.js"}}',
            "Makefile": "test:\n\t@node_modules/.bin/tape test.js\n",
        },
        "a Node package (package.json)",
        "npm install --no-audit --no-fund && npm test",
    ),
    "node without tests": (
        {"package.json": '{"name": "ms", "scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'},
        "a Node package (package.json)",
        "",
    ),
    "a kernel module": (
        {"Makefile": "obj-m := loop.o\nall:\ncheck:\n", "dkms.conf": 'PACKAGE_NAME="loop"\nPACKAGE_VERSION=0.1\n'},
        "a kernel module (Makefile)",
        f'{IN_KERNEL} M="$PWD" modules',
    ),
    "a kernel module in src": (
        {"src/Kbuild": "obj-$(CONFIG_X) += x.o\nobj-m += x.o\n", "Makefile": "all:\n"},
        "a kernel module (src/Kbuild)",
        f'{IN_KERNEL} M="$PWD"/src modules',
    ),
    "a kernel module where dkms.conf says": (
        {"dkms.conf": 'MAKE[0]="make -C driver KVERSION=$kernelver"\n', "driver/Makefile": "obj-m := a.o\n"},
        "a kernel module (driver/Makefile)",
        f'{IN_KERNEL} M="$PWD"/driver modules',
    ),
    "a kernel module in what dkms makes of the tree": (
        {
            "dkms.conf": 'MAKE="make -C ${kernel_source_dir} M=$dkms_tree/$PACKAGE_NAME/1/build/drivers/net modules"\n',
            "drivers/net/Kbuild": "obj-m += a.o\n",
        },
        "a kernel module (drivers/net/Kbuild)",
        f'{IN_KERNEL} M="$PWD"/drivers/net modules',
    ),
    "dkms with a place for what is built": (
        {"dkms.conf": 'BUILT_MODULE_LOCATION[0]="kmod/"\nMAKE[0]="make"\n', "kmod/Kbuild": "obj-m += a.o\n"},
        "a kernel module (kmod/Kbuild)",
        f'{IN_KERNEL} M="$PWD"/kmod modules',
    ),
    "dkms that leads out": ({"dkms.conf": 'MAKE[0]="make -C ../x; make -C /y -C ${a}"\n'}, "", ""),
    "a debian package": ({"debian/control": "Source: a\n"}, "a Debian package (debian/control)", ""),
    "nothing that is known": ({"README": "", "package.json": "[1]", "CMakeLists.txt": "# nothing\n"}, "", ""),
}


@pytest.mark.parametrize(("files", "kind", "test"), KINDS.values(), ids=KINDS)
def test_a_tree_is_of_a_kind_and_tested_as_such(tmp_path: Path, files: dict[str, str], kind: str, test: str) -> None:
    found = detect(tree(tmp_path, files))
    assert found.kind == kind
    assert found.test.line.startswith(test)
    assert bool(found.test.line) == bool(test)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"configure.ac": "AC_INIT([yaml], [YAML_MAJOR.YAML_MINOR])\n"}, ("yaml", "")),  # a macro's name is no version
        ({"Cargo.toml": CARGO}, ("itoa", "1.0.1")),
        ({"Cargo.toml": '[package]\nname = "a"\nversion = { workspace = true }\n'}, ("a", "")),
        ({"CMakeLists.txt": CMAKE}, ("fmt", "9.1.0")),
        ({"CMakeLists.txt": 'project("My App" VERSION "1.2")\n'}, ("my-app", "1.2")),
        ({"CMakeLists.txt": "set(NAME Own)\nproject(${NAME}-x VERSION ${MAJOR}.1 LANGUAGES C)\n"}, ("own-x", "")),
        ({"setup.py": "", "setup.cfg": "[metadata]\nname = s\nversion = 4\n"}, ("s", "4")),
        ({"setup.py": "", "setup.cfg": "[metadata]\nname = s\nversion = attr: s.VERSION\n"}, ("s", "")),
        ({"meson.build": MESON}, ("json-glib", "1.6.6")),
        ({"go.mod": "module example.org/uuid/v2\n"}, ("uuid", "")),
        ({"package.json": '{"name": "@me/ms", "version": "2.1.3"}'}, ("me-ms", "2.1.3")),
        ({"pyproject.toml": "[tool.poetry]\nname = 'p'\nversion = '3'\n[build-system]\n"}, ("p", "3")),
        ({"Cargo.toml": CARGO, "pyproject.toml": PYPROJECT}, ("snake", "2")),
        ({"setup.py": "", "PKG-INFO": "Name: psutil\nVersion: 7.2\n\nVersion: none\n"}, ("psutil", "7.2")),
    ],
)
def test_each_kind_tells_its_name_and_version(tmp_path: Path, files: dict[str, str], expected: tuple[str, str]) -> None:
    found = detect(tree(tmp_path, files))
    assert (found.name, found.version) == expected


@pytest.mark.parametrize(
    ("files", "packages"),
    [
        ({"Cargo.toml": CARGO}, ("cargo", "rustc")),
        ({"go.mod": "module a\n"}, ("golang-go", "ca-certificates")),
        (
            {"CMakeLists.txt": CMAKE + "find_package(PkgConfig)\nset(SECMEM 1)\n"},
            ("cmake", "build-essential", "pkg-config"),
        ),
        # A makefile calls the tools of the other kinds.
        ({"Makefile": "test:\n", "CMakeLists.txt": CMAKE}, ("cmake", "build-essential")),
        # ... but what is not called is not installed.
        (
            {"pyproject.toml": PYPROJECT, "package.json": '{"name": "docs"}'},
            ("python3-build", "python3-pip", "python3-venv", "python3-hatchling"),
        ),
        (
            {"configure.ac": "AC_INIT(a, 1)\nAM_GNU_GETTEXT\nPKG_CHECK_MODULES([X], [x])\n", "Makefile.am": ""},
            ("autoconf", "automake", "libtool", "gettext", "autopoint", "pkg-config"),
        ),
        (
            {"configure.ac": "AC_INIT(a, 1)\nAM_INIT_AUTOMAKE([foreign no-dist-gzip dist-zstd])\n", "Makefile.am": ""},
            ("autoconf", "automake", "libtool", "zstd"),
        ),
    ],
)
def test_a_kind_names_the_packages_of_its_tools(
    tmp_path: Path, files: dict[str, str], packages: tuple[str, ...]
) -> None:
    assert detect(tree(tmp_path, files)).packages == packages


@pytest.mark.parametrize(
    ("files", "runs"),
    [
        ({"tests/test_a.py": "import pytest\n"}, "python3 -P -m pytest"),
        ({"tests/test_a.py": "import unittest\n"}, "python3 -P -m unittest discover --start-directory tests "),
        ({"tests/test_a.py": "", "tox.ini": "[testenv]\ncommands = pytest\n"}, "tox run --workdir ../.tox -e py"),
        # tox would invent an environment that has no commands, and pass.
        ({"tests/a.py": "", "tox.ini": "[testenv:lint]\ncommands = ruff\n[testenv:py311]\ncommands = pytest\n"},
         "tox run --workdir ../.tox -e py311"),
        ({"tests/a.py": "", "tox.ini": "[testenv]\ndeps = pytest\n[testenv:lint]\ncommands = ruff\n"},
         "python3 -P -m pytest"),
        ({"tests/a.py": "", "tox.ini": "[tox]\nenvlist = py3{7,13}-{a,b}\n[testenv]\ncommands =\n  py3{7,13}: a\n"},
         "tox run --workdir ../.tox -e py313-a"),
        ({"tests/a.py": "", "setup.cfg": "[tox:tox]\n[testenv]\ncommands = pytest\n"}, "--workdir ../.tox -e py"),
        ({"tests/a.py": "", "tox.toml": "[env_run_base]\ncommands = [['pytest']]\n"}, "--workdir ../.tox -e py"),
        ({"tests/a.py": "", "tox.toml": "[env.py311]\ncommands = [['pytest']]\n"}, "--workdir ../.tox -e py311"),
        ({"tests/a.py": "", "pyproject.toml": "[tool.tox]\nlegacy_tox_ini = '[testenv]\\ncommands = pytest'\n"},
         "python3 -P -m pytest"),
        ({"tests/a.py": "", "pyproject.toml": "[tool.tox.env_run_base]\ncommands = [['pytest']]\n"},
         "--workdir ../.tox -e py"),
        ({"tests/a.py": "", "pyproject.toml": '[tool.tox]\nlegacy_tox_ini = """\n[testenv]\ncommands = pytest\n"""\n'},
         "--workdir ../.tox -e py"),
        ({"noxfile.py": "@nox.session\ndef tests(session):\n    pass\n"}, "python3 -m nox --session tests"),
        ({"noxfile.py": "@nox.session(\n    python=['3.11'],\n    name=\"unit-tests\",\n)\n@nox.parametrize('a', [1])\n"
                        "def run_them(session):\n    pass\n"}, "python3 -m nox --session unit-tests"),
        ({"noxfile.py": "@nox.session(name='lint')\ndef tests(s): pass\n@session\ndef unit_tests(s): pass\n"},
         "python3 -m nox --session unit_tests"),
        # Who says what tests need in the metadata needs nobody who knows it.
        ({"tests/test_a.py": "", "tox.ini": "[testenv]\n",
          "setup.cfg": "[options.extras_require]\ndev = x\ntest =\n  y\n"}, ". '.[test]' && python3 -P -m pytest"),
        ({"test/a.py": "", "requirements-dev.txt": "", "tox.ini": "[testenv]\n"},
         " . --requirement requirements-dev.txt && "),
        ({"tests/a.py": "", "pyproject.toml": "[project]\n[tool.poetry.group.dev.dependencies]\npytest = '^7'\n"},
         " . pytest && "),
        ({"tests/a.py": "", "pyproject.toml": "[tool.pdm.dev-dependencies]\ntest = ['pytest', '-e file:///${ROOT}/a']\n"},
         " . pytest && "),
        ({"tests/a.py": "", "pyproject.toml": "[tool.uv]\ndev-dependencies = ['pytest>=8']\n"}, " . 'pytest>=8' && "),
        ({"tests/a.py": "", "pyproject.toml": "[tool.hatch.envs.default]\ndependencies = ['a', 'b @ {root:uri}/b']\n"
                                              "[tool.hatch.envs.hatch-test]\nextra-dependencies = ['c']\n"},
         " . c && "),
    ],
)  # fmt: skip
def test_python_projects_are_tested_by_what_they_have(tmp_path: Path, files: dict[str, str], runs: str) -> None:
    line = detect(tree(tmp_path, {"setup.py": "", **files})).test.line
    assert line.startswith("python3 -m venv ")
    assert runs in line


@pytest.mark.parametrize(
    ("files", "known_by", "runs"),
    [
        ({"tox.ini": "[testenv]\nskip_install = true\ncommands = pytest\n"}, "tox.ini", "-m tox run "),
        ({"tox.toml": "env_run_base.commands = [['pytest']]\n"}, "tox.toml", "-m tox run "),
        ({"noxfile.py": "@nox.session\ndef tests(s): pass\n"}, "noxfile.py", "-m nox --session tests"),
        (
            {"requirements.txt": "a\n", "tests/test_a.py": "", "requirements-dev.txt": "b\n"},
            "requirements.txt",
            " --requirement requirements.txt --requirement requirements-dev.txt && python3 -m pytest",
        ),
    ],
)
def test_python_that_is_no_package_is_tested_in_its_tree(
    tmp_path: Path, files: dict[str, str], known_by: str, runs: str
) -> None:
    found = detect(tree(tmp_path, files))
    assert found.kind == f"a Python project ({known_by})"
    assert runs in found.test.line
    assert found.packages[:2] == ("python3-pip", "python3-venv")
    assert Project.load(tmp_path, {}).is_python


@pytest.mark.parametrize("files", [{"requirements.txt": "a\n"}, {"requirements.txt": "a\n", "tests/run.sh": ""}])
def test_a_list_of_requirements_alone_is_no_project(tmp_path: Path, files: dict[str, str]) -> None:
    assert not detect(tree(tmp_path, files)).kind


BUILD = "[build-system]\nrequires = ['setuptools']\n"


@pytest.mark.parametrize(
    ("files", "wants"),
    [
        ({"pyproject.toml": f"{BUILD}[tool.poetry.dependencies]\npython = '^3.12'\n"}, "3.12"),
        ({"pyproject.toml": f"{BUILD}[tool.poetry.dependencies]\npython = '~3.12 || ^3.13'\n"}, "3.12"),
        ({"pyproject.toml": "[project]\nrequires-python = '~=3.12'\n"}, "3.12"),
        ({"pyproject.toml": "[project]\nrequires-python = '==3.12.*'\n"}, "3.12"),
        ({"pyproject.toml": "[project]\nrequires-python = '<4, >=3.8,>= 3.12, !=3.12.1'\n"}, "3.12"),
        ({"pyproject.toml": "[project]\nrequires-python = '>3.11.2'\n"}, "3.11.3"),
        ({"pyproject.toml": "[project]\nrequires-python = '>3.11'\n"}, ""),  # 3.11.2 is newer
        ({"pyproject.toml": "[project]\nrequires-python = '<3.13'\n"}, ""),
        ({"setup.py": "", "setup.cfg": "[options]\npython_requires = >=3.12\n"}, "3.12"),
        ({"setup.py": "setup(name='a', python_requires='>=3.12')\n"}, "3.12"),
        ({"setup.py": "", "PKG-INFO": "Name: a\nRequires-Python: >=3.12\n\n"}, "3.12"),
        ({"setup.py": "", "tox.ini": "[testenv:py313]\ncommands = pytest\n"}, "3.13"),
    ],
)
def test_the_python_that_a_project_wants_decides_the_image(tmp_path: Path, files: dict[str, str], wants: str) -> None:
    found = detect(tree(tmp_path, files))
    note = f"it wants python3 {wants} or newer, and bookworm has 3.11.2"
    assert (found.suite, found.note) == (("trixie", note) if wants else ("bookworm", ""))


@pytest.mark.parametrize(
    "files",
    [
        {"Cargo.toml": "[workspace]\nmembers = ['crates/*']\n", "crates/a/Cargo.toml": f"{CARGO}edition = '2024'\n"},
        {"Cargo.toml": "[workspace]\nmembers = ['a']\n", "a/Cargo.toml": f"{CARGO}rust-version = '1.85'\n"},
        {
            "pyproject.toml": "[build-system]\nrequires = ['maturin']\n[project]\nname='r'\n",
            "Cargo.toml": f"{CARGO}edition = '2024'\n",
        },
        {
            "pyproject.toml": "build-system.requires = ['maturin']\n[tool.maturin]\nmanifest-path = 'r/Cargo.toml'\n",
            "r/Cargo.toml": f"{CARGO}rust-version = '1.85'\n",
        },
    ],
)
def test_the_newest_rust_of_all_manifests_decides_the_image(tmp_path: Path, files: dict[str, str]) -> None:
    found = detect(tree(tmp_path, files))
    assert (found.suite, found.note) == ("trixie", "it wants rustc 1.85 or newer, and bookworm has 1.63.0")


@pytest.mark.parametrize(
    ("oldest", "suite"), [("3.25...3.31", "bookworm"), ("3.28", "trixie"), ("3.13...3.30 FATAL_ERROR", "bookworm")]
)
def test_a_range_of_cmakes_versions_begins_with_the_oldest(tmp_path: Path, oldest: str, suite: str) -> None:
    text = f"cmake_minimum_required(VERSION {oldest})\nproject(a)\n"
    assert detect(tree(tmp_path, {"CMakeLists.txt": text})).suite == suite


@pytest.mark.parametrize(
    ("tool", "oldest", "suite", "note"),
    [
        ("rustc", "", "bookworm", ""),
        ("rustc", "1.63", "bookworm", ""),
        ("rustc", "1.68", "trixie", "it wants rustc 1.68 or newer, and bookworm has 1.63.0"),
        ("rustc", "1.88", "trixie", "it wants rustc 1.88 or newer, and the newest of our images, trixie, has 1.85.0"),
        ("go", "1.100", "trixie", "it wants go 1.100 or newer, and the newest of our images, trixie, has 1.24.4"),
    ],
)
def test_a_tool_that_must_be_newer_decides_the_image(tool: str, oldest: str, suite: str, note: str) -> None:
    assert suite_with(tool, oldest) == (suite, note)


def test_the_image_that_can_do_it_is_the_default_and_no_more(tmp_path: Path) -> None:
    tree(tmp_path, {"Cargo.toml": CARGO.replace("[package]", '[package]\nrust-version = "1.68"')})
    project = Project.load(tmp_path, {})
    assert (project.images.build, project.images.install) == ("trixie-build", "trixie")
    tree(tmp_path, {"vmtasks.toml": '[images]\nbuild = "mine"\n'})
    assert Project.load(tmp_path, {}).images.build == "mine"


def test_what_a_test_leaves_is_brought_out_unless_the_project_says_what(tmp_path: Path) -> None:
    tree(tmp_path, {"configure.ac": "", "Makefile.am": ""})
    assert Project.load(tmp_path, {}).artifacts.test == ("test-suite.log", "*/test-suite.log")
    tree(tmp_path, {"vmtasks.toml": "[artifacts]\ntest = []\n"})
    assert Project.load(tmp_path, {}).artifacts.test == ()


@pytest.mark.parametrize("name", ["Cargo.toml", "go.mod", "package.json", "CMakeLists.txt", "meson.build", "tox.ini"])
def test_a_file_that_leads_out_of_the_project_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("S3CRET\n")
    root = tree(tmp_path / "project", {"setup.py": "", "tests/a": ""})
    (root / name).symlink_to(tmp_path / "secret")
    with pytest.raises(UsageError, match="it is a link that leads out of"):
        detect(root)


def test_a_broken_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cargo.toml: it is not valid TOML"):
        detect(tree(tmp_path, {"Cargo.toml": "[package\n"}))


def test_a_guess_is_told_in_two_lines_and_what_was_said_is_none(tmp_path: Path) -> None:
    tree(tmp_path / "itoa", {"Cargo.toml": CARGO.replace("[package]", '[package]\nrust-version = "1.68"')})
    assert Project.load(tmp_path / "itoa", {}).guess("test") == (
        "itoa 1.0.1: a Rust crate (Cargo.toml), in trixie-build: it wants rustc 1.68 or newer, and bookworm has 1.63.0",
        "guessed: test = cargo test; packages = cargo rustc; `inv init` writes it to vmtasks.toml",
    )
    assert Project.load(tmp_path / "itoa", {"VMTASKS_TEST": "make test"}).guess("test") == ()
    assert Project.load(tree(tmp_path / "empty", {"README": ""}), {}).guess("test") == ()


def test_the_newest_go_of_a_workspace_decides_the_image(tmp_path: Path) -> None:
    found = detect(tree(tmp_path, {"go.work": "go 1.18\nuse ./a\n", "a/go.mod": "module a\ngo 1.22\n"}))
    assert found.suite == "trixie"


def test_a_kernel_module_is_built_by_root_where_the_kernels_headers_are(tmp_path: Path) -> None:
    tree(tmp_path, {"Kbuild": "obj-m := a.o\n"})
    project = Project.load(tmp_path, {})
    assert (project.images.build, project.images.install) == ("bookworm-kernel", "bookworm")
    assert project.commands.as_root
    assert "in bookworm-kernel: it has the headers of the kernel that runs there" in project.guess("test")[0]
    assert Project.load(tmp_path, {"VMTASKS_IMAGE": "trixie"}).images.build == "trixie-kernel"
    assert Project.load(tmp_path, {"VMTASKS_IMAGE": "sid-build"}).images.build == "sid-build"
    assert not Project.load(tmp_path, {"VMTASKS_AS_ROOT": "false"}).commands.as_root


@pytest.mark.parametrize(
    ("package", "lock", "dist"),
    [
        ('{"name": "a", "scripts": {"test": "t"}, "dependencies": {"b": "1"}}', "", "npm pack"),
        ('{"name": "a", "scripts": {"prepare": "tsc"}}', "", "npm install --no-audit --no-fund && npm pack"),
        (
            '{"name": "a", "scripts": {"prepack": "tsc"}}',
            "package-lock.json",
            "npm ci --no-audit --no-fund && npm pack",
        ),
        ('{"name": "a", "bundleDependencies": ["b"]}', "", "npm install --no-audit --no-fund && npm pack"),
        ('{"name": "a", "private": true, "scripts": {"prepack": "tsc"}}', "", ""),
    ],
)
def test_a_node_package_is_packed_with_what_its_own_scripts_need(
    tmp_path: Path, package: str, lock: str, dist: str
) -> None:
    files = {"package.json": package, **({lock: "{}"} if lock else {})}
    assert detect(tree(tmp_path, files)).dist.line == dist
