"""uv: what a project has from elsewhere than the index, where a stranger may have the same name."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from vmtasks.project.kinds.kind import Tree, table, word
from vmtasks.project.kinds.python_requirements import normal

_MEMBERS = 200
"""So many members of a workspace are looked at."""


def names_elsewhere(pyproject: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of requirements that are from elsewhere than the index: ``[tool.uv.sources]``."""
    return frozenset(map(normal, table(pyproject, "tool", "uv", "sources")))


def directories(tree: Tree, pyproject: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the directories in the tree that requirements are in, by their names and as pip wants them.

    Where pip is told ``./packages/b``, it takes no package of such a name from the index.
    """
    sources = table(pyproject, "tool", "uv", "sources")
    members = {_name(tree, place): place for place in _members(tree, pyproject)}
    found = {}
    for name in sources:
        source = table(sources, name)
        place = members.get(normal(name), "") if source.get("workspace") is True else word(source.get("path"))
        place = posixpath.normpath(place) if place else ""
        if place and not place.startswith(("..", "/", ".")) and tree.has(place):
            found[normal(name)] = f"./{place}"
    return found


def out_of_reach(tree: Tree, pyproject: Mapping[str, Any], requirements: Iterable[str]) -> str:
    """Return the first of these requirements that is neither in the tree nor from the index; empty if none is.

    pip would take a stranger's package for it.
    """
    elsewhere = names_elsewhere(pyproject) - directories(tree, pyproject).keys()
    return next((name for name in map(normal, requirements) if name in elsewhere), "")


def _members(tree: Tree, pyproject: Mapping[str, Any]) -> Iterator[str]:
    """Yield the directories of a workspace's members; a pattern that goes any depth is none of ours."""
    patterns = table(pyproject, "tool", "uv", "workspace").get("members")
    for pattern in patterns if isinstance(patterns, list) else []:
        if not word(pattern) or "**" in pattern or "\0" in pattern or ".." in pattern.split("/") or pattern[0] == "/":
            continue
        for path in islice(tree.root.glob(f"{pattern}/pyproject.toml"), _MEMBERS):
            yield path.parent.relative_to(tree.root).as_posix()


def _name(tree: Tree, place: str) -> str:
    return normal(table(tree.toml(f"{place}/pyproject.toml"), "project").get("name", ""))
