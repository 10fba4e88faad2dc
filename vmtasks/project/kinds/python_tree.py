"""Python that is no package: tested by tox or nox, or by pytest in the tree, with what requirements.txt names."""

from __future__ import annotations

import shlex

from vmtasks.errors import UsageError
from vmtasks.project.kinds import python
from vmtasks.project.kinds.kind import Guess, Tree, Way
from vmtasks.project.kinds.python_requirements import lists, name_directories
from vmtasks.project.kinds.python_runners import VENV, by_runner, has_tests_in_python, python_of
from vmtasks.project.kinds.python_test_needs import list_of

_INSTALL = f"{VENV}python3 -m pip install --no-warn-script-location "

_OF_RUNNERS = ("tox.ini", "tox.toml", "noxfile.py", "setup.cfg", "pyproject.toml")


def look(tree: Tree) -> Guess | None:
    """Look for tox's or nox's file, or for requirements.txt and tests in Python, where there is no package."""
    if python.is_package(tree):
        return None
    has_list = has_tests_in_python(tree, "test_*.py") and tree.has("requirements.txt")
    runner = by_runner(tree)
    if not runner and not has_list:
        return None
    test = runner or _pytest(tree)
    return Guess(
        kind="a Python project",
        known_by=next(name for name in (_OF_RUNNERS if runner else ("requirements.txt",)) if tree.has(name)),
        packages=("python3-pip", "python3-venv"),
        tool=("python3", python_of(test)),
        test=test,
    )


def _pytest(tree: Tree) -> Way:
    """Return the line: pytest finds the modules of such a project where they lie."""
    names = [name for name in ("requirements.txt", list_of(tree)) if name]
    install = _INSTALL + shlex.join(word for name in names for word in ("--requirement", name))
    way = Way(line=f"{install} && python3 -m pytest", packages=("python3-pytest",))
    try:
        included = tuple(dict.fromkeys(one for name in names for one in lists(tree, name)))
        is_apart = not name_directories(tree, included)
    except (OSError, UsageError):
        return way  # whether that is an error is pip's to say
    if not is_apart:
        return way
    installs = f"pip install --requirement {' --requirement '.join(names)}"
    return Way(line=way.line, packages=way.packages, prepare=install, installs=installs, prepare_files=included)
