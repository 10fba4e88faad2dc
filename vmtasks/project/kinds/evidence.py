"""Whether there is a test anywhere in a tree: what runs none passes, and a project would be taken for tested."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from vmtasks.errors import UsageError
from vmtasks.project.kinds.kind import Tree

_LOOKED_AT = 20_000
"""So many names are looked at,"""
_READ = 2_000
"""and so many files read: in a larger tree, there are tests."""
_OTHERS = frozenset({"node_modules", "vendor", "third_party", "target"})
"""Directories of what is somebody else's, or made."""


def may_be_tested(tree: Tree, names: re.Pattern[str], is_test: Callable[[str], bool]) -> bool:
    """Whether one of the files whose path has such a name is a test, or nothing tells: no file has, or too many have.

    :param is_test: what tells by a file's path, relative to the root.
    """
    read = 0
    for looked_at, name in enumerate(_files(tree.root)):
        if looked_at >= _LOOKED_AT or read >= _READ:
            return True
        if names.search(name):
            read += 1
            try:
                if is_test(name):
                    return True
            except UsageError:
                return True  # it is too large to read, and so to tell
    return not read


def _files(root: Path) -> Iterator[str]:
    """Yield the paths of the regular files of the tree, and of its directories; links are not followed."""
    todo = [""]
    while todo:
        directory = todo.pop()
        try:
            entries = [*os.scandir(root / directory)]
        except OSError:
            continue
        for entry in entries:
            path = f"{directory}/{entry.name}".lstrip("/")
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(".") and entry.name not in _OTHERS:
                    todo.append(path)
                yield f"{path}/"
            elif entry.is_file(follow_symlinks=False):
                yield path
