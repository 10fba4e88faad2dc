"""Rust: cargo tests the crate, or every crate of the workspace."""

from __future__ import annotations

import re

from vmtasks.project.kinds.cargo_fetch import fetch
from vmtasks.project.kinds.kind import Guess, Tree, Way, numbers, table, word

_PACK = (
    "cargo package --no-verify --allow-dirty && for crate in target/package/*.crate; do "
    'cp "$crate" "$(basename "$crate" .crate).tar.gz"; done'
)
_LOCK_VERSION = re.compile(r"^version = ([0-9]+)$", re.MULTILINE)
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
    shared = table(workspace, "package")
    oldest = word(package.get("rust-version")) or word(shared.get("rust-version"))
    edition = "1.85" if "2024" in {package.get("edition"), shared.get("edition")} else ""
    lock = _LOCK_VERSION.search(tree.text("Cargo.lock"))
    locked = " --locked" if tree.has("Cargo.lock") else ""
    fetched = fetch(tree, cargo)
    return Guess(
        kind="a Rust crate" if package else "a workspace of Rust crates",
        known_by="Cargo.toml",
        name=word(package.get("name")),
        version=word(package.get("version")),
        packages=("cargo", "rustc"),
        tool=("rustc", max(oldest, edition, _READS_LOCK.get(lock[1] if lock else "", ""), key=numbers)),
        test=Way(
            line=f"cargo test{'' if package and not workspace else ' --workspace'}{locked}",
            prepare=fetched.line if fetched else "",
            installs="cargo fetch",
            prepare_files=fetched.files if fetched else (),
        ),
        dist=Way(line=_PACK) if package and not workspace else None,
    )
