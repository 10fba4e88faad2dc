"""Python: installed into an environment of its own, with what its tests need, and tested there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from vmtasks.errors import UsageError
from vmtasks.project.kinds import tox
from vmtasks.project.kinds.kind import Guess, Tree, Way, table, word
from vmtasks.project.kinds.python_requirements import (
    EXTRAS,
    NAME,
    lists,
    lock_of,
    name_directories,
    needed,
    normal,
)

_BACKENDS = {
    "cffi": "python3-cffi",
    "cython": "cython3",
    "flit-core": "flit",
    "hatch-vcs": "python3-hatch-vcs",
    "hatchling": "python3-hatchling",
    "maturin": "cargo",
    "meson-python": "python3-mesonpy",
    "pbr": "python3-pbr",
    "poetry-core": "python3-poetry-core",
    "scikit-build-core": "cmake",
    "setuptools": "python3-setuptools",
    "setuptools-rust": "cargo",
    "setuptools-scm": "python3-setuptools-scm",
    "wheel": "python3-wheel",
}
"""What builds Python packages, and Debian's packages of it, or of what it calls."""
_TOOLS = ("python3-build", "python3-pip", "python3-venv")
_LEGACY = ("setuptools", "wheel")
"""What builds a project that names nothing for that (PEP 518)."""
_LISTS = (
    "requirements-test.txt", "requirements-tests.txt", "requirements_test.txt", "test-requirements.txt",
    "requirements/test.txt", "requirements/tests.txt", "requirements-dev.txt", "requirements_dev.txt",
    "dev-requirements.txt", "requirements/dev.txt",
)  # fmt: skip
"""What projects call the list of it, if they have neither."""
_TESTS = ("tests", "test", "testing", "pytest.ini", "conftest.py")
"""What a Python project that has tests has at its root, one of them at least, or else a test module."""
_COMPILERS = ("cython3", "python3-cffi", "python3-mesonpy", "cmake")
"""Packages of backends that compile."""
_COMPILES = ("ext_modules", "ext-modules", "Extension(", "cffi_modules")
"""Words of setup.py and pyproject.toml by which a project has modules in C."""
_OLDEST = re.compile(r">=\s*+([0-9.]++)")
_RELEASED = re.compile(r"^(Name|Version): ([\w.+!-]++)$", re.MULTILINE)
"""What is in the PKG-INFO of a release."""
_SETUP_EXTRA = re.compile(r"^\[options\.extras_require\][^\[]*?^(test|tests|testing)\s*+=", re.MULTILINE)
_SESSION = re.compile(r"^def (tests?|unit|unit_tests|pytest)\(", re.MULTILINE)
_NOT_INDEXED = ("optional", "path", "git", "url", "file", "source")
"""Keys of Poetry's by which a dependency is not installed, or not from the index that pip asks."""
_FILES = 40
"""So many test files are looked at, to see what they are written for."""

# What builds it is taken where it is there; else it comes from the index, into an environment of its own.
_IS_THERE = 'import build, sys; sys.exit(bool(build.ProjectBuilder(".").check_dependencies(sys.argv[1])))'
_ISOLATION = f"$(python3 -c '{_IS_THERE}' %s >/dev/null 2>&1 && echo %s)"

SDIST = f"python3 -m build --sdist {_ISOLATION % ('sdist', '--no-isolation')}"
_INSTALL = "python3 -m pip install --no-warn-script-location "
# Debian's pip serves the environment, too: one of its own would be the same, and takes as long as all the rest.
_VENV = "python3 -m venv --system-site-packages --without-pip ../.venv && . ../.venv/bin/activate && "


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
        packages=(*packages(pyproject), *(["python3-dev"] if _compiles(tree, pyproject) else [])),
        tool=("python3", oldest[1] if oldest else ""),
        test=_test(tree, pyproject),
        dist=Way(line=SDIST),
    )


def packages(pyproject: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the Debian packages that build a project, as far as Debian has them."""
    required = table(pyproject, "build-system").get("requires", _LEGACY)
    names = [normal(requirement) for requirement in required] if isinstance(required, list | tuple) else []
    return (*_TOOLS, *dict.fromkeys(_BACKENDS[name] for name in names if name in _BACKENDS))


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
    has_tests = tree.has(*_TESTS) or any(tree.root.glob("test_*.py"))
    if not (has_tests or tree.has("tox.ini", "noxfile.py")):
        return None
    more = () if any(_said(pyproject)) else _said_elsewhere(tree)
    if more is None and "[testenv" in tree.text("tox.ini"):
        return _tox(tree)
    if more is None and (session := _SESSION.search(tree.text("noxfile.py"))):
        nox = f"{_VENV}python3 -m pip install nox"
        return Way(line=f"{nox} && python3 -m nox --session {session[1]}", prepare=nox, installs="nox")
    if not has_tests:
        return None
    if _is_unittest(tree):
        directory = next(name for name in _TESTS if tree.has(name))
        runs = f"python3 -P -m unittest discover --start-directory {directory} --top-level-directory ."
        way = Way(line=venv_line(pyproject, more=more or (), runs=runs))
    else:
        way = Way(line=venv_line(pyproject, more=more or ()), packages=("python3-pytest",))
    return _prepared(way, tree, pyproject, more or ())


def _tox(tree: Tree) -> Way:
    line = f"{_VENV}python3 -m pip install tox && python3 -m tox run --workdir ../.tox -e py"
    try:
        is_apart = tox.is_apart(tree)
    except (OSError, UsageError):
        is_apart = False
    if not is_apart:
        return Way(line=line)
    prepare = f"{line} --notest --skip-pkg-install"
    return Way(line=line, prepare=prepare, installs="tox -e py --notest", prepare_files=tox.READS)


def _prepared(way: Way, tree: Tree, pyproject: Mapping[str, Any], more: tuple[str, ...]) -> Way:
    """Return *way* with what installs all that the project needs but the project itself, in its lock's versions.

    The requirements are in the line, and so in what it is kept by. What builds the project is among them: it has no
    environment of its own where it is there. It comes first and in any version, since a lock tells nothing of it; where
    the project needs another version of the same to run, that is the one that stays.
    """
    extra, group = _said(pyproject)
    listed = more[1] if more[:1] == ("--requirement",) else ""
    lock, pins = lock_of(tree)
    try:
        included = lists(tree, listed)
        is_apart = not name_directories(tree, included)
    except (OSError, UsageError):
        return way  # whether that is an error is pip's to say
    wanted = [
        *needed(tree, pyproject, extra or (more[0][2:-1] if more and not listed else ""), group),
        *(_poetry_names(table(pyproject, "tool", "poetry", "dependencies")) if lock else ()),
        *(more if listed else ()),
    ]
    builders = [*dict.fromkeys(_builders(pyproject))]
    if not (wanted or builders) or not (is_apart or lock):
        return way
    pinned, constraint = (f"{pins} >../constraints.txt && ", "--constraint ../constraints.txt ") if lock else ("", "")
    requirements = shlex.join(dict.fromkeys(wanted))
    steps = [
        *([f"{_INSTALL}{shlex.join(builders)}"] if builders else []),
        *([f"{pinned}{_INSTALL}{constraint}{requirements}"] if wanted else []),
    ]
    return replace(
        way,
        prepare=f"{_VENV}{' && '.join(steps)}",
        installs=f"pip install {shlex.join(dict.fromkeys([*builders, *wanted]))}",
        prepare_files=(*([lock] if lock else []), *included),
    )


def _builders(pyproject: Mapping[str, Any]) -> Iterator[str]:
    """Yield what builds the project, where Debian's packages of that may be none or too old."""
    required = table(pyproject, "build-system").get("requires")
    for requirement in required if isinstance(required, list) else []:
        if not (isinstance(requirement, str) and requirement.lower().replace("_", "-") in _BACKENDS):
            yield str(requirement)


def _compiles(tree: Tree, pyproject: Mapping[str, Any]) -> bool:
    builders = {normal(one) for one in _builders(pyproject)} | {*packages(pyproject)}
    text = tree.text("setup.py") + tree.text("pyproject.toml")
    return not builders.isdisjoint(_COMPILERS) or any(word in text for word in _COMPILES)


def _said(pyproject: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return the extra and the requirements that the project's metadata have for its tests."""
    extras, groups = table(pyproject, "project", "optional-dependencies"), table(pyproject, "dependency-groups")
    group = tuple(_group(groups, _first(groups))) or tuple(_poetry(table(pyproject, "tool", "poetry")))
    return next((name for name in EXTRAS if name in extras), ""), group


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
    return next((name for name in (*EXTRAS, "dev") if name in groups), "")


def _group(groups: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the requirements of a dependency group (PEP 735), which may include others: each of these once."""
    todo: list[object] = [{"include-group": name}]
    seen: set[str] = set()
    while todo:
        entry = todo.pop()
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict) and (included := str(entry.get("include-group", ""))) not in seen:
            seen.add(included)
            entries = groups.get(included)
            todo += reversed(entries) if isinstance(entries, list) else []


def _poetry(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names in Poetry's groups for tests: its way to say versions is not pip's."""
    groups = table(settings, "group")
    yield from _poetry_names(table(groups, _first(groups), "dependencies") or table(settings, "dev-dependencies"))


def _poetry_names(entries: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names that the index has: what comes from elsewhere may have a stranger's name there."""
    for name, entry in entries.items():
        forms = entry if isinstance(entry, list) else [entry]  # by platform, or by version of Python
        is_left_out = any(isinstance(form, dict) and any(map(form.get, _NOT_INDEXED)) for form in forms)
        if name != "python" and NAME.fullmatch(name) and not is_left_out:
            yield name
