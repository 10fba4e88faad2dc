"""Small projects that would keep the host busy for hours if what they repeat were looked at again and again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.limited import limited
from vmtasks.errors import UsageError
from vmtasks.project import Project
from vmtasks.project.changelog import date_of
from vmtasks.project.detect import detect

LIMIT_S = 12.0
"""Of the processor's time, for a mebibyte or two of text; what is read again and again takes hours."""
MIB = 1024 * 1024


def numbered(text: str, count: int) -> str:
    """Return a text again and again, in which %d counts."""
    return "".join(text.replace("%d", str(number)).replace("%n", str(number + 1)) for number in range(count))


def python(**files: str | None) -> dict[str, str | None]:
    """Return a Python project with tests, and more files, in whose names ``__`` stands for a dot."""
    return {"setup.py": "", "test_it.py": "import pytest\n"} | {
        name.replace("__", "."): text for name, text in files.items()
    }


GROUPS = "[dependency-groups]\ntest = [{include-group = 'g0'}]\n"
TINY = "[project]\nname = 'tiny'\n"
TIMES = "s/" + "*/" * 25 + "x"
PROJECTS: dict[str, Mapping[str, str | None]] = {
    "one directory by many names": {
        "meson.build": "project('tiny')\n" + "".join(f"subdir('{'./' * number}')\n" for number in range(1, 61))
    },
    "directories without end": {"meson.build": "project('tiny')\n" + numbered("subdir('%d')\n", 100_000)},
    "a pattern for links": {
        "Cargo.toml": f"[workspace]\nmembers = ['{TIMES}']\n[workspace.package]\nedition = '2021'\n",
        "s/a": None,
        "s/b": None,
    },
    "a pattern without end": {"Cargo.toml": f"[workspace]\nmembers = ['{'*/' * 3000}x']\n"},
    "patterns without end": {"Cargo.toml": f"[workspace]\nmembers = [{numbered('%d, ', 100_000)}]\n"},
    "many patterns": {"Cargo.toml": "[workspace]\nmembers = [" + "'*/*/*/*', " * 100_000 + "]\n", "s/a": None},
    "members without end": {"Cargo.toml": "[workspace]\n[dependencies]\n" + numbered("d%d.path='%d'\n", 50_000)},
    "lists by way of links": python(
        requirements__txt="", a=None, b=None,
        **{"requirements-dev__txt": "-r a/requirements-dev.txt\n-r b/requirements-dev.txt\n"},
    ),
    "lists without end": python(**{"requirements-dev__txt": numbered("-r %d\n", 200_000)}),
    "lists without end for tox": python(tox__ini="[testenv]\ndeps =\n" + numbered(" -r %d\n", 4000)),
    "groups that include twice": python(
        pyproject__toml=GROUPS + numbered("g%d = [{include-group='g%n'}, {include-group='g%n'}]\n", 60)
    ),
    "groups in a chain": python(pyproject__toml=GROUPS + numbered("g%d = [{include-group='g%n'}]\n", 3000)),
    "an extra of itself": python(
        pyproject__toml=f"{TINY}[project.optional-dependencies]\ntest = [" + "'tiny', " * 150_000 + "]\n"
    ),
    "brackets without end": python(pyproject__toml=f"{TINY}dependencies = ['tiny{'[' * MIB}']\n"),
    "a key of many parts": python(pyproject__toml=f"{'a.' * MIB}a = 1\n"),
    "a quoted key of many parts": python(pyproject__toml='"\\"" . \'b\'.' * 200_000 + "a = 1\n"),
    "a table of many parts": python(pyproject__toml=f"[{'a.' * 10_000}a]\n" + numbered("b%d = 1\n", 100_000)),
    "a key behind a string": python(pyproject__toml=f'a = {{b = """"x"""", {"c." * MIB}d = 1}}\n'),
    "a number without end": {"vmtasks.toml": f"a = {'1' * MIB}\n"},
    "line feeds for meson": {"meson.build": "\n" * MIB},
    "projects for meson": {"meson.build": "project('a'\n" * 100_000},
    "line feeds for cmake": {"CMakeLists.txt": "\n" * MIB},
    "line feeds in a list": python(**{"requirements-dev__txt": "\n" * MIB}),
    "conditions without end": python(**{"PKG-INFO": f"Requires-Dist: extra{';' * MIB}\n"}),
    "blanks in a line of setup.cfg": python(setup__cfg=f"[options]\na{' ' * 200_000}b\n"),
    "complaints about setup.cfg": python(setup__cfg="[options]\n" + "b\n" * MIB),
    "complaints about tox.ini": python(tox__ini="[testenv]\n" + "=\n" * MIB),
}  # fmt: skip
"""Files by their names; what has no text is a link to its own directory."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def laid(root: Path, files: Mapping[str, str | None]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        if text is None:
            (root / name).symlink_to(".")
        else:
            (root / name).write_text(text)
    return root


@pytest.mark.parametrize("files", PROJECTS.values(), ids=PROJECTS)
def test_no_project_keeps_the_host_busy(root: Path, files: Mapping[str, str | None]) -> None:
    laid(root, files)
    with limited(LIMIT_S), suppress(UsageError):
        Project.load(root)


@pytest.mark.parametrize(
    ("key", "is_taken"), [(".".join("a" * 32), True), (".".join("a" * 33), False), ('\'a\'. "\\"" .' * 20 + "a", False)]
)
def test_a_key_has_so_many_parts(root: Path, key: str, is_taken: bool) -> None:
    (root / "pyproject.toml").write_text(f"# {'.' * 99}\nb = '{'.' * 99}'\nc = '''\n{'.' * 99}'''\n[tool]\n{key} = 1\n")
    if is_taken:
        detect(root)
        return
    with pytest.raises(UsageError, match="a key of it has more than 32 parts"):
        detect(root)


def test_members_of_a_workspace_are_found_all_the_same(root: Path) -> None:
    manifest = "[package]\nname = '{}'\nversion = '1.0'\n[dependencies]\nlog = '1'\n"
    laid(root, {"Cargo.toml": "[workspace]\nmembers = ['one', 'more/*', 'gone/?', 'README']\nexclude = ['more/out']\n"})
    for name in ("one", "more/two", "more/out", "gone"):
        (root / name).mkdir(parents=True)
        (root / name / "Cargo.toml").write_text(manifest.format(name.rpartition("/")[2]))
    (root / "README").touch()
    (root / "more/README").symlink_to("../README")
    assert set(detect(root).test.prepare_files) == {"Cargo.toml", "one/Cargo.toml", "more/two/Cargo.toml"}
    (root / "more/link").symlink_to("../gone")
    assert detect(root).test.prepare == ""


def test_tests_behind_directories_are_found_all_the_same(root: Path) -> None:
    (root / "src/deep").mkdir(parents=True)
    (root / "meson.build").write_text("project('tiny', 'c',\n  license: 'GPL (2)',\n  version: '1.2')\nsubdir('src')\n")
    (root / "src/meson.build").write_text("  subdir('deep')\nsubdir('gone')\n")
    (root / "src/deep/meson.build").write_text("test('it', it)\n")
    found = detect(root)
    assert found.test.line.startswith("meson setup")
    (root / "src/deep/meson.build").write_text("# test('it', it)\n")
    assert not detect(root).test.line.startswith("meson setup")


@pytest.mark.parametrize(
    "trailer", ["<>" * MIB, "<a@b>  Thu, 01 Jan 2026 00:00:00 +99999999999999", f"<a@b>  {'9' * MIB}"]
)
def test_a_date_that_is_none_is_none_at_once(root: Path, trailer: str) -> None:
    (root / "debian").mkdir()
    (root / "debian/changelog").write_text(f"tiny (1.0) unstable; urgency=low\n\n  * First.\n\n -- A {trailer}\n")
    with limited(LIMIT_S):
        assert date_of(root) is None
