"""Go: every package of the module."""

from __future__ import annotations

import re

from vmtasks.project.kinds.kind import Guess, Tree, Way

_MODULE = re.compile(r"^module\s++\"?([^\s\"]++)", re.MULTILINE)
_GO = re.compile(r"^go\s++([0-9.]++)", re.MULTILINE)
_MAJOR = re.compile(r"/v[0-9]+\Z")


def look(tree: Tree) -> Guess | None:
    """Look for go.mod."""
    text = tree.text("go.mod")
    if not (module := _MODULE.search(text)):
        return None
    oldest = _GO.search(text)
    return Guess(
        kind="a Go module",
        known_by="go.mod",
        name=_MAJOR.sub("", module[1]).rpartition("/")[2],
        packages=("golang-go", "ca-certificates"),
        tool=("go", oldest[1] if oldest else ""),
        test=Way(line="go test ./..."),
    )
