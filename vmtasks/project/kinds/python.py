"""Python: installed into an environment of its own, with what its tests need, and tested there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from vmtasks.project.kinds.kind import Guess, Tree, Way, table, word

_BACKENDS = {
    "flit-core": "flit",
    "hatchling": "python3-hatchling",
    "maturin": "cargo",
    "meson-python": "meson",
    "poetry-core": "python3-poetry-core",
    "scikit-build-core": "cmake",
    "setuptools": "python3-setuptools",
    "setuptools-rust": "cargo",
    "wheel": "python3-wheel",
}
"""What builds Python packages, and Debian's packages of it, or of what it calls."""
_LEGACY = ("setuptools", "wheel")
"""What builds a project that names nothing for that (PEP 518)."""
_EXTRAS = ("test", "tests", "testing")
"""What projects call the extra, or the dependency group, that their tests need."""
_LISTS = (
    "requirements-test.txt", "requirements-tests.txt", "requirements_test.txt", "test-requirements.txt",
    "requirements/test.txt", "requirements/tests.txt", "requirements-dev.txt", "requirements_dev.txt",
    "dev-requirements.txt", "requirements/dev.txt",
)  # fmt: skip
"""What projects call the list of it, if they have neither."""
_TESTS = ("tests", "test", "testing", "pytest.ini", "conftest.py")
"""What a Python project that has tests has at its root, one of them at least."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OLDEST = re.compile(r">=\s*+([0-9.]++)")
_RELEASED = re.compile(r"^(Name|Version): ([\w.+!-]++)$", re.MULTILINE)
"""What is in the PKG-INFO of a release."""
_SETUP_EXTRA = re.compile(r"^\[options\.extras_require\][^\[]*?^(test|tests|testing)\s*+=", re.MULTILINE)
_SESSION = re.compile(r"^def (tests?|unit|unit_tests|pytest)\(", re.MULTILINE)
_FILES = 40
"""So many test files are looked at, to see what they are written for."""

# What builds it is taken where it is there; else it comes from the index, into an environment of its own.
_IS_THERE = 'import build, sys; sys.exit(bool(build.ProjectBuilder(".").check_dependencies(sys.argv[1])))'
_ISOLATION = f"$(python3 -c '{_IS_THERE}' %s >/dev/null 2>&1 && echo %s)"

SDIST = f"python3 -m build --sdist {_ISOLATION % ('sdist', '--no-isolation')}"
_VENV = "python3 -m venv --system-site-packages ../.venv && . ../.venv/bin/activate && "


def look(tree: Tree) -> Guess | None:
    """Look for a pyproject.toml of a package, or a setup.py."""
    pyproject = tree.toml("pyproject.toml")
    if not tree.has("setup.py") and pyproject.keys().isdisjoint(("project", "build-system")):
        return None
    metadata = table(pyproject, "project") or table(pyproject, "tool", "poetry")
    oldest = _OLDEST.search(word(metadata.get("requires-python")))
    released = dict(_RELEASED.findall(tree.text("PKG-INFO").partition("\n\n")[0]))
    return Guess(
        kind="a Python package",
        known_by="pyproject.toml" if tree.has("pyproject.toml") else "setup.py",
        name=word(metadata.get("name")) or released.get("Name", ""),
        version=word(metadata.get("version")) or released.get("Version", ""),
        packages=packages(pyproject),
        tool=("python3", oldest[1] if oldest else ""),
        test=_test(tree, pyproject),
        dist=Way(line=SDIST),
    )


def packages(pyproject: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the Debian packages that build a project, as far as Debian has them."""
    required = table(pyproject, "build-system").get("requires", _LEGACY)
    names = [_normal(requirement) for requirement in required] if isinstance(required, list | tuple) else []
    return ("python3-build", "python3-venv", *dict.fromkeys(_BACKENDS[name] for name in names if name in _BACKENDS))


def venv_line(pyproject: Mapping[str, Any], *, more: tuple[str, ...] = (), runs: str = "python3 -P -m pytest") -> str:
    """Return the shell line that tests the project itself: installed into an environment of its own.

    Debian's packages serve that environment where they fit, and what is missing comes from the index. The project is
    never one of them: what an environment has of its own goes before them. ``-P`` keeps the tree itself off the path.

    :param more: what pip is to install beside the project, and what the project says that its tests need.
    :param runs: what runs the tests.
    """
    extra, group = _said(pyproject)
    wanted = [f".[{extra}]" if extra else ".", *dict.fromkeys([*group, *more])]
    return (
        f"{_VENV}python3 -m pip install {_ISOLATION % ('wheel', '--no-build-isolation')} --no-warn-script-location "
        f"{shlex.join(wanted)} && {runs}"
    )


def _test(tree: Tree, pyproject: Mapping[str, Any]) -> Way | None:
    """Return what tests it: what the project says that its tests need, else what its tox or nox knows of that."""
    if not tree.has(*_TESTS, "tox.ini", "noxfile.py"):
        return None
    more = () if any(_said(pyproject)) else _said_elsewhere(tree)
    if more is None and "[testenv" in tree.text("tox.ini"):
        return Way(line=f"{_VENV}python3 -m pip install tox && python3 -m tox run -e py")
    if more is None and (session := _SESSION.search(tree.text("noxfile.py"))):
        return Way(line=f"{_VENV}python3 -m pip install nox && python3 -m nox --session {session[1]}")
    if not tree.has(*_TESTS):
        return None
    if _is_unittest(tree):
        directory = next(name for name in _TESTS if tree.has(name))
        runs = f"python3 -P -m unittest discover --start-directory {directory} --top-level-directory ."
        return Way(line=venv_line(pyproject, more=more or (), runs=runs))
    return Way(line=venv_line(pyproject, more=more or ()), packages=("python3-pytest",))


def _said(pyproject: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return the extra and the requirements that the project's metadata have for its tests."""
    extras, groups = table(pyproject, "project", "optional-dependencies"), table(pyproject, "dependency-groups")
    group = tuple(_group(groups, _first(groups), frozenset())) or tuple(_poetry(table(pyproject, "tool", "poetry")))
    return next((name for name in _EXTRAS if name in extras), ""), group


def _said_elsewhere(tree: Tree) -> tuple[str, ...] | None:
    """Return what pip is to install by what older files say; None where none says anything."""
    if extra := _SETUP_EXTRA.search(tree.text("setup.cfg")):
        return (f".[{extra[1]}]",)
    name = next((name for name in _LISTS if tree.has(name)), "")
    return ("--requirement", name) if name else None


def _is_unittest(tree: Tree) -> bool:
    """Whether its tests are written for unittest alone."""
    if "pytest" in "".join(map(tree.text, ("setup.cfg", "tox.ini", "pytest.ini", "pyproject.toml", "setup.py"))):
        return False
    directory = next((name for name in _TESTS if (tree.root / name).is_dir()), "")
    if not directory or tree.has("conftest.py", f"{directory}/conftest.py"):
        return False
    files = islice((path for path in (tree.root / directory).glob("test*.py") if path.is_file()), _FILES)
    texts = [tree.text(f"{directory}/{path.name}") for path in files]
    return any("unittest" in text for text in texts) and not any("pytest" in text for text in texts)


def _first(groups: Mapping[str, Any]) -> str:
    return next((name for name in (*_EXTRAS, "dev") if name in groups), "")


def _group(groups: Mapping[str, Any], name: str, seen: frozenset[str]) -> Iterator[str]:
    """Yield the requirements of a dependency group (PEP 735), which may include others."""
    entries = groups.get(name, [])
    for entry in entries if isinstance(entries, list) and name not in seen else []:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            yield from _group(groups, str(entry.get("include-group", "")), seen | {name})


def _poetry(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names in Poetry's groups for tests: its way to say versions is not pip's."""
    groups = table(settings, "group")
    chosen = table(groups, _first(groups), "dependencies") or table(settings, "dev-dependencies")
    yield from (name for name in chosen if name != "python" and _NAME.fullmatch(name))


def _normal(requirement: object) -> str:
    match = _NAME.match(str(requirement))
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""
