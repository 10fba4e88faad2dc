"""Go: every package of the module, or of every module of the workspace."""

from __future__ import annotations

import posixpath
import re
import shlex

from vmtasks.project.kinds.evidence import may_be_tested
from vmtasks.project.kinds.kind import Guess, Tree, Way, numbers

_USE = re.compile(r"^use[ \t]++(?:\(([^)]*+)\)|(\S++))", re.MULTILINE)
_COMMENT = re.compile(r"//[^\n]*+")
_MODULE = re.compile(r"^module\s++\"?([^\s\"]++)", re.MULTILINE)
_GO = re.compile(r"^go\s++([0-9.]++)", re.MULTILINE)
_MAJOR = re.compile(r"/v[0-9]+\Z")
_REQUIRES = re.compile(r"^require\b", re.MULTILINE)
_SOURCES = re.compile(r"\.go\Z")
_DOWNLOAD = "go mod download"
_LOCAL = re.compile(r"=>\s*+\.{0,2}/")
"""A module that is replaced by a directory."""


def look(tree: Tree) -> Guess | None:
    """Look for go.mod, and for the modules that go.work names."""
    text, workspace = tree.text("go.mod"), tree.text("go.work")
    module, used = _MODULE.search(text), _used(workspace)
    if not module and not used:
        return None
    versions = [*_GO.findall(text), *_GO.findall(workspace)]
    for one in used:
        versions += _GO.findall(tree.text(f"{one}/go.mod"))
    # What is vendored is there already, and a workspace or a directory is more than go.mod can tell.
    is_fetched = bool(
        _REQUIRES.search(text) and not tree.has("vendor/modules.txt", "go.work") and not _LOCAL.search(text)
    )
    # Of packages without test files, `go test` says so, and passes.
    is_tested = may_be_tested(tree, _SOURCES, lambda name: name.endswith("_test.go"))
    return Guess(
        kind="a Go module" if module else "a workspace of Go modules",
        known_by="go.mod" if module else "go.work",
        name=_MAJOR.sub("", module[1]).rpartition("/")[2] if module else "",
        packages=("golang-go", "ca-certificates"),
        tool=("go", max(versions, key=numbers, default="")),
        test=Way(
            line=f"go test {shlex.join(f'./{one}/...' if one != '.' else './...' for one in used or ['.'])}",
            prepare=_DOWNLOAD if is_fetched else "",
            installs=_DOWNLOAD,
            prepare_files=("go.mod", "go.sum") if is_fetched else (),
        )
        if is_tested
        else None,
        untested="" if is_tested else "no file of it is called *_test.go: `go test` would test nothing",
    )


def _used(workspace: str) -> list[str]:
    """Return the directories of a workspace's modules, as far as they are in the tree."""
    found = [word for block, one in _USE.findall(_COMMENT.sub("", workspace)) for word in (block or one).split()]
    places = [posixpath.normpath(one.strip('"')) for one in found]
    return [one for one in dict.fromkeys(places) if not one.startswith(("..", "/")) and one.isprintable()]
