"""A Debian package: source-package, build-deb and install-test know what to do with it."""

from __future__ import annotations

from vmtasks.project.kinds.kind import Guess, Tree


def look(tree: Tree) -> Guess | None:
    """Look for debian/control."""
    if not tree.has("debian/control"):
        return None
    return Guess(kind="a Debian package", known_by="debian/control")
