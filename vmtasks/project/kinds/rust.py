"""Rust: cargo tests the crate, or every crate of the workspace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vmtasks.errors import UsageError
from vmtasks.project.kinds.cargo_fetch import fetch, manifests
from vmtasks.project.kinds.evidence import may_be_tested
from vmtasks.project.kinds.kind import Guess, Tree, Way, numbers, table, word

_PACK = (
    "cargo package --no-verify --allow-dirty && for crate in target/package/*.crate; do "
    'cp "$crate" "$(basename "$crate" .crate).tar.gz"; done'
)
_SOURCES = re.compile(r"\.rs\Z")
_TESTS = re.compile(r"\btest|[a-z]_test|\b(?:proptest|quickcheck)|```")
"""What is in the source of a test: an attribute, a macro, or an example in a comment."""
_LOCK_VERSION = re.compile(r"^version = ([0-9]+)$", re.MULTILINE)
_EDITIONS = {"2024": "1.85"}
_READS_LOCK = {"4": "1.78"}
"""Version of a Cargo.lock -> the first cargo that reads it, where Debian 12's does not."""


def look(tree: Tree) -> Guess | None:
    """Look for Cargo.toml; one beside a pyproject.toml that builds something is Python's."""
    cargo = tree.toml("Cargo.toml")
    package, workspace = table(cargo, "package"), table(cargo, "workspace")
    if not package and not workspace:
        return None
    if table(tree.toml("pyproject.toml"), "build-system"):
        return None
    locked = " --locked" if tree.has("Cargo.lock") else ""
    fetched = fetch(tree, cargo)
    is_tested = may_be_tested(
        tree, _SOURCES, lambda name: name.startswith("tests/") or bool(_TESTS.search(tree.text(name)))
    )
    return Guess(
        kind="a Rust crate" if package else "a workspace of Rust crates",
        known_by="Cargo.toml",
        name=word(package.get("name")),
        version=word(package.get("version")),
        packages=("cargo", "rustc"),
        tool=("rustc", oldest(tree, cargo)),
        test=Way(
            line=f"cargo test{'' if package and not workspace else ' --workspace'}{locked}",
            prepare=fetched.line if fetched else "",
            installs="cargo fetch",
            prepare_files=fetched.files if fetched else (),
        )
        if is_tested
        else None,
        untested="" if is_tested else "no source of it has a test or an example: `cargo test` would test nothing",
        dist=Way(line=_PACK) if package and not workspace else None,
    )


def oldest(tree: Tree, cargo: Mapping[str, Any]) -> str:
    """Return the oldest rustc that can do it: that of the newest edition and ``rust-version`` among all manifests.

    :param cargo: the manifest at the root of the crate, or of the workspace.
    """
    try:
        found = [*manifests(tree, cargo).values()]
    except (OSError, ValueError, NotImplementedError, UsageError):
        found = [cargo]  # whether that is an error is cargo's to say
    lock = _LOCK_VERSION.search(tree.text("Cargo.lock"))
    wants = [_READS_LOCK.get(lock[1] if lock else "", "")]
    for manifest in found:
        for package in (table(manifest, "package"), table(manifest, "workspace", "package")):
            wants += [word(package.get("rust-version")), _EDITIONS.get(word(package.get("edition")), "")]
    return max(wants, key=numbers)
