"""Python: installed into an environment of its own, with what its tests need, and tested there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from vmtasks.errors import UsageError
from vmtasks.project.kinds import rust
from vmtasks.project.kinds.cargo_fetch import leaves
from vmtasks.project.kinds.kind import Guess, Tree, Way, numbers, table, word
from vmtasks.project.kinds.python_metadata import metadata
from vmtasks.project.kinds.python_requirements import lists, lock_of, name_directories, needed, normal
from vmtasks.project.kinds.python_runners import TESTS, VENV, by_runner, has_tests_in_python, python_of
from vmtasks.project.kinds.python_test_needs import of_older_files, of_pyproject, poetry_names
from vmtasks.project.kinds.suites import suite_with
from vmtasks.project.kinds.uv_sources import directories, names_elsewhere, out_of_reach

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
_COMPILERS = ("cython3", "python3-cffi", "python3-mesonpy", "cmake")
"""Packages of backends that compile."""
_COMPILES = ("ext_modules", "ext-modules", "Extension(", "cffi_modules")
"""Words of setup.py and pyproject.toml by which a project has modules in C."""
_CASE = re.compile(r"^class \w++\([^\n)]*TestCase\b|^def load_tests\b", re.MULTILINE)
"""What unittest finds: without any, it passes in Python 3.11."""
_FILES = 40
"""So many test files are looked at, to see what they are written for."""

# What builds it is taken where it is there and can; else it comes from the index, into an environment of its own. That
# its version will do is not all: Debian's hatchling knows the classifiers of its day, and refuses later ones.
_IS_THERE = (
    'import build, sys, tempfile as t; b = build.ProjectBuilder("."); d = t.TemporaryDirectory(); '
    "sys.exit(bool(b.check_dependencies(sys.argv[1])) or not b.metadata_path(d.name))"
)
_ISOLATION = f"$(python3 -c '{_IS_THERE}' %s >/dev/null 2>&1 && echo %s)"

SDIST = f"python3 -m build --sdist {_ISOLATION % ('sdist', '--no-isolation')}"
_INSTALL = "python3 -m pip install --no-warn-script-location "


def look(tree: Tree) -> Guess | None:
    """Look for a pyproject.toml of a package, or a setup.py."""
    pyproject = tree.toml("pyproject.toml")
    if not is_package(tree):
        return None
    known = metadata(tree, pyproject)
    missing = out_of_reach(tree, pyproject, needed(tree, pyproject, *of_pyproject(pyproject)))
    test = None if missing else _test(tree, pyproject)
    return Guess(
        kind="a Python package",
        known_by="pyproject.toml" if tree.has("pyproject.toml") else "setup.py",
        name=known.name,
        version=known.version,
        packages=(*packages(pyproject), *(["python3-dev"] if _compiles(tree, pyproject) else [])),
        tool=_tool(tree, pyproject, max(known.python, python_of(test), key=numbers)),
        test=test,
        untested=f"[tool.uv.sources] has {missing} from elsewhere than the index or the tree, where pip cannot get it"
        if missing
        else "",
        dist=Way(line=SDIST),
    )


def is_package(tree: Tree) -> bool:
    """Whether pip can install it."""
    return tree.has("setup.py") or not tree.toml("pyproject.toml").keys().isdisjoint(("project", "build-system"))


def _tool(tree: Tree, pyproject: Mapping[str, Any], python: str) -> tuple[str, str]:
    """Return the tool that decides the image: Python, unless its backend compiles Rust that wants a newer suite."""
    if "cargo" in packages(pyproject):
        manifest = word(table(pyproject, "tool", "maturin").get("manifest-path")) or "Cargo.toml"
        rustc = rust.oldest(tree, tree.toml(manifest)) if not leaves(manifest) else ""
        if suite_with("rustc", rustc)[1] and not suite_with("python3", python)[1]:
            return "rustc", rustc
    return "python3", python


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
    extra, group = of_pyproject(pyproject)
    wanted = [f".[{extra}]" if extra else ".", *dict.fromkeys([*group, *more])]
    return (
        f"{VENV}python3 -m pip install {_ISOLATION % ('wheel', '--no-build-isolation')} --no-warn-script-location "
        f"{shlex.join(wanted)} && {runs}"
    )


def _test(tree: Tree, pyproject: Mapping[str, Any]) -> Way | None:
    """Return what tests it: what the project says that its tests need, else what its tox or nox knows of that."""
    has_tests = has_tests_in_python(tree, "*.py")
    more = () if any(of_pyproject(pyproject)) else of_older_files(tree)
    if more is None and (way := by_runner(tree)):
        return way
    if not has_tests:
        return None
    more, beside = more or (), sorted(directories(tree, pyproject).values())
    if _is_unittest(tree):
        directory = next(name for name in TESTS if tree.has(name))
        is_importable = tree.has(f"{directory}/__init__.py")
        top = " --top-level-directory ." if is_importable else ""
        runs = f"python3 -P -m unittest discover --start-directory {directory}{top}"
        way = Way(line=venv_line(pyproject, more=(*more, *beside), runs=runs))
    else:
        way = Way(line=venv_line(pyproject, more=(*more, *beside)), packages=("python3-pytest",))
    return _prepared(way, tree, pyproject, more)


def _prepared(way: Way, tree: Tree, pyproject: Mapping[str, Any], more: tuple[str, ...]) -> Way:
    """Return *way* with what installs all that the project needs but the project itself, in its lock's versions.

    The requirements are in the line, and so in what it is kept by. What builds the project is among them: it has no
    environment of its own where it is there. It comes first and in any version, since a lock tells nothing of it; where
    the project needs another version of the same to run, that is the one that stays.
    """
    extra, group = of_pyproject(pyproject)
    listed = more[1] if more[:1] == ("--requirement",) else ""
    lock, pins = lock_of(tree)
    try:
        included = lists(tree, listed)
        is_apart = not name_directories(tree, included)
    except (OSError, UsageError):
        return way  # whether that is an error is pip's to say
    wanted = [
        *needed(tree, pyproject, extra or (more[0][2:-1] if more and not listed else ""), group),
        *(poetry_names(table(pyproject, "tool", "poetry", "dependencies")) if lock else ()),
        *(more if listed else ()),
    ]
    builders = [*dict.fromkeys(_builders(pyproject))]
    if not (wanted or builders) or not (is_apart or lock):
        return way
    if not names_elsewhere(pyproject).isdisjoint(map(normal, wanted)):
        return way  # the index may have a stranger's package of such a name
    pinned, constraint = (f"{pins} >../constraints.txt && ", "--constraint ../constraints.txt ") if lock else ("", "")
    requirements = shlex.join(dict.fromkeys(wanted))
    steps = [
        *([f"{_INSTALL}{shlex.join(builders)}"] if builders else []),
        *([f"{pinned}{_INSTALL}{constraint}{requirements}"] if wanted else []),
    ]
    return replace(
        way,
        prepare=f"{VENV}{' && '.join(steps)}",
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


def _is_unittest(tree: Tree) -> bool:
    """Whether its tests are written for unittest alone."""
    if "pytest" in "".join(map(tree.text, ("setup.cfg", "tox.ini", "pytest.ini", "pyproject.toml", "setup.py"))):
        return False
    directory = next((name for name in TESTS if (tree.root / name).is_dir()), "")
    if not directory or tree.has("conftest.py", f"{directory}/conftest.py"):
        return False
    files = islice((path for path in (tree.root / directory).glob("test*.py") if path.is_file()), _FILES)
    texts = [tree.text(f"{directory}/{path.name}") for path in files]
    has_cases = any("unittest" in text and _CASE.search(text) for text in texts)
    return has_cases and not any("pytest" in text for text in texts)
