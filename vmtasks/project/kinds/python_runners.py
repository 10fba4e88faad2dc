"""tox and nox: what tests a Python project by what they know of it."""

from __future__ import annotations

import re

from vmtasks.errors import UsageError
from vmtasks.project.kinds import tox
from vmtasks.project.kinds.kind import Tree, Way, table

TESTS = ("tests", "test", "testing")
"""What Python projects call the directory of their tests."""
# Debian's pip serves the environment, too: one of its own would be the same, and takes as long as all the rest.
VENV = "python3 -m venv --system-site-packages --without-pip ../.venv && . ../.venv/bin/activate && "
_OF_PYTEST = {"tox.ini": "pytest", "setup.cfg": "tool:pytest"}
_SESSION = re.compile(
    r"^@(?:nox\.)?session\b[ \t]*+(?:\(([^)]{0,2000}+)\))?[^\n]*+\n(?:[@ \t)\]][^\n]*+\n|\n){0,40}+def (\w++)\(",
    re.MULTILINE,
)
"""A session of nox: the arguments of its decorator, and the function below that."""
_NAME = re.compile(r"""\bname\s*+=\s*+(["'])([\w.-]++)\1""")
_SESSIONS = ("test", "tests", "unit", "unit-tests", "unit-test", "pytest")
_OF_TOX = re.compile(r" tox run [^\n]{0,99}? -e ([\w.-]++)")


def has_tests_in_python(tree: Tree, pattern: str) -> bool:
    """Whether there are files for pytest at the root, or modules of such names in a directory of tests."""
    if tree.has("pytest.ini", "conftest.py") or any(tree.root.glob("test_*.py")) or is_set_up_for_pytest(tree):
        return True
    return any(any((tree.root / name).glob(f"**/{pattern}")) for name in TESTS if (tree.root / name).is_dir())


def is_set_up_for_pytest(tree: Tree) -> bool:
    """Whether a file has settings of pytest's: then its tests may lie anywhere, as in ``src/NAME/tests``."""
    tools = table(tree.toml("pyproject.toml"), "tool", "pytest")
    return bool(tools) or any(f"\n[{section}]" in f"\n{tree.text(name)}" for name, section in _OF_PYTEST.items())


def by_runner(tree: Tree) -> Way | None:
    """Return what tests it by tox, or else by nox; None where neither knows how."""
    if name := tox.environment(tree):
        return _tox(tree, name)
    if name := session_of(tree):
        nox = f"{VENV}python3 -m pip install nox"
        return Way(line=f"{nox} && python3 -m nox --session {name}", prepare=nox, installs="nox")
    return None


def session_of(tree: Tree) -> str:
    """Return the session of nox that runs tests, by the name that nox knows it by; empty if there is none."""
    for arguments, function in _SESSION.findall(tree.text("noxfile.py")):
        name = named[2] if (named := _NAME.search(arguments)) else str(function)
        if name.replace("_", "-").lower() in _SESSIONS:
            return name
    return ""


def python_of(way: Way | None) -> str:
    """Return the version of Python that the environment of tox in a line asks for; empty if any will do."""
    found = _OF_TOX.search(way.line) if way else None
    return tox.python_of(found[1]) if found else ""


def _tox(tree: Tree, name: str) -> Way:
    line = f"{VENV}python3 -m pip install tox && python3 -m tox run --workdir ../.tox -e {name}"
    try:
        is_apart = tox.is_apart(tree)
    except (OSError, UsageError):
        is_apart = False
    if not is_apart:
        return Way(line=line)
    prepare = f"{line} --notest --skip-pkg-install"
    return Way(line=line, prepare=prepare, installs=f"tox -e {name} --notest", prepare_files=tox.READS)
