"""Go: every package of the module."""

from __future__ import annotations

import re

from vmtasks.project.kinds.kind import Guess, Tree, Way

_MODULE = re.compile(r"^module\s++\"?([^\s\"]++)", re.MULTILINE)
_GO = re.compile(r"^go\s++([0-9.]++)", re.MULTILINE)
_MAJOR = re.compile(r"/v[0-9]+\Z")
_REQUIRES = re.compile(r"^require\b", re.MULTILINE)
_DOWNLOAD = "go mod download"
_LOCAL = re.compile(r"=>\s*+\.{0,2}/")
"""A module that is replaced by a directory."""


def look(tree: Tree) -> Guess | None:
    """Look for go.mod."""
    text = tree.text("go.mod")
    if not (module := _MODULE.search(text)):
        return None
    oldest = _GO.search(text)
    # What is vendored is there already, and a workspace or a directory is more than go.mod can tell.
    is_fetched = _REQUIRES.search(text) and not tree.has("vendor/modules.txt", "go.work") and not _LOCAL.search(text)
    return Guess(
        kind="a Go module",
        known_by="go.mod",
        name=_MAJOR.sub("", module[1]).rpartition("/")[2],
        packages=("golang-go", "ca-certificates"),
        tool=("go", oldest[1] if oldest else ""),
        test=Way(
            line="go test ./...",
            prepare=_DOWNLOAD if is_fetched else "",
            installs=_DOWNLOAD,
            prepare_files=("go.mod", "go.sum") if is_fetched else (),
        ),
    )
