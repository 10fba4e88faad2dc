"""What a Python project's tests need beside the project: what its files say of that, in pip's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vmtasks.project.kinds.kind import Tree, table
from vmtasks.project.kinds.python_requirements import EXTRAS, NAME, is_directory, normal

_LISTS = (
    "requirements-test.txt", "requirements-tests.txt", "requirements_test.txt", "test-requirements.txt",
    "requirements/test.txt", "requirements/tests.txt", "requirements-dev.txt", "requirements_dev.txt",
    "dev-requirements.txt", "requirements/dev.txt",
)  # fmt: skip
"""What projects call a list of it."""
_SETUP_EXTRA = re.compile(r"^\[options\.extras_require\][^\[]*?^(test|tests|testing)\s*+=", re.MULTILINE)
_NOT_INDEXED = ("optional", "path", "git", "url", "file", "source")
"""Keys of Poetry's by which a dependency is not installed, or not from the index that pip asks."""
_OF_HATCH = (*EXTRAS, "hatch-test", "default")
"""Hatch's environments in which tests may run."""


def of_pyproject(pyproject: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return the extra and the requirements that pyproject.toml has for the tests: the first tool's that has any."""
    extras, groups = table(pyproject, "project", "optional-dependencies"), table(pyproject, "dependency-groups")
    ways = (
        _group(groups, _first(groups)),
        _poetry(table(pyproject, "tool", "poetry")),
        _group(pdm := table(pyproject, "tool", "pdm", "dev-dependencies"), _first(pdm)),
        _group(table(pyproject, "tool", "uv"), "dev-dependencies"),
        _hatch(table(pyproject, "tool", "hatch", "envs")),
    )
    group = next((found for way in ways if (found := tuple(way))), ())
    return next((name for name in EXTRAS if name in extras), ""), group


def of_older_files(tree: Tree) -> tuple[str, ...] | None:
    """Return what pip is to install by what older files say; None where none says anything."""
    if extra := _SETUP_EXTRA.search(tree.text("setup.cfg")):
        return (f".[{extra[1]}]",)
    name = list_of(tree)
    return ("--requirement", name) if name else None


def list_of(tree: Tree) -> str:
    """Return the list of requirements that is for the tests, by its name; empty if there is none."""
    return next((name for name in _LISTS if tree.has(name)), "")


def _first(groups: Mapping[str, Any]) -> str:
    return next((name for name in (*EXTRAS, "dev") if name in groups), "")


def _group(groups: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the requirements of a dependency group (PEP 735), which may include others: each of these once."""
    todo: list[object] = [{"include-group": name}]
    seen: set[str] = set()
    while todo:
        entry = todo.pop()
        if isinstance(entry, str):
            if normal(entry) and not is_directory(entry):  # PDM has options of pip's among them: -e file:///...
                yield entry
        elif isinstance(entry, dict) and (included := str(entry.get("include-group", ""))) not in seen:
            seen.add(included)
            entries = groups.get(included)
            todo += reversed(entries) if isinstance(entries, list) else []


def _poetry(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names in Poetry's groups for tests: its way to say versions is not pip's."""
    groups = table(settings, "group")
    yield from poetry_names(table(groups, _first(groups), "dependencies") or table(settings, "dev-dependencies"))


def poetry_names(entries: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names that the index has: what comes from elsewhere may have a stranger's name there."""
    for name, entry in entries.items():
        forms = entry if isinstance(entry, list) else [entry]  # by platform, or by version of Python
        is_left_out = any(isinstance(form, dict) and any(map(form.get, _NOT_INDEXED)) for form in forms)
        if name != "python" and NAME.fullmatch(name) and not is_left_out:
            yield name


def _hatch(environments: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the first of Hatch's environments for tests has beside the project."""
    name = next((one for one in _OF_HATCH if any(_of_hatch(table(environments, one)))), "")
    yield from _of_hatch(table(environments, name))


def _of_hatch(environment: Mapping[str, Any]) -> Iterator[str]:
    for key in ("dependencies", "extra-dependencies"):
        entries = environment.get(key)
        for entry in entries if isinstance(entries, list) else []:
            if normal(entry) and "{" not in entry:  # {root:uri} and the like are Hatch's to fill in
                yield entry
