"""uv: what a project has from elsewhere than the index, where a stranger may have the same name."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from vmtasks.project.kinds.kind import Tree, table, word
from vmtasks.project.kinds.python_requirements import normal

_MEMBERS = 200
"""So many members of a workspace are looked at."""


def names_elsewhere(pyproject: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of requirements that are from elsewhere than the index: ``[tool.uv.sources]``."""
    return frozenset(map(normal, table(pyproject, "tool", "uv", "sources")))


def directories(tree: Tree, pyproject: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the directories in the tree that requirements are in, as pip wants them: ``./packages/b``.

    Where pip is told these, it takes no package of such a name from the index.
    """
    sources = table(pyproject, "tool", "uv", "sources")
    of_workspace = {normal(name) for name in sources if table(sources, name).get("workspace") is True}
    found = {word(table(sources, name).get("path")) for name in sources}
    found |= (
        {place for place in _members(tree, pyproject) if _name(tree, place) in of_workspace} if of_workspace else set()
    )
    places = sorted(posixpath.normpath(one) for one in found if one)
    return tuple(f"./{one}" for one in places if not one.startswith(("..", "/", ".")) and tree.has(one))


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
