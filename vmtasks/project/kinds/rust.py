"""Rust: cargo tests the crate, or every crate of the workspace."""

from __future__ import annotations

from vmtasks.project.kinds.kind import Guess, Tree, Way, table, word

_PACK = (
    "cargo package --no-verify --allow-dirty && for crate in target/package/*.crate; do "
    'cp "$crate" "$(basename "$crate" .crate).tar.gz"; done'
)


def look(tree: Tree) -> Guess | None:
    """Look for Cargo.toml; one beside a pyproject.toml that builds something is Python's."""
    cargo = tree.toml("Cargo.toml")
    package, workspace = table(cargo, "package"), table(cargo, "workspace")
    if not package and not workspace:
        return None
    if table(tree.toml("pyproject.toml"), "build-system"):
        return None
    oldest = word(package.get("rust-version")) or word(table(workspace, "package").get("rust-version"))
    edition = "1.85" if package.get("edition") == "2024" else ""
    locked = " --locked" if tree.has("Cargo.lock") else ""
    return Guess(
        kind="a Rust crate" if package else "a workspace of Rust crates",
        known_by="Cargo.toml",
        name=word(package.get("name")),
        version=word(package.get("version")),
        packages=("cargo", "rustc"),
        tool=("rustc", oldest or edition),
        test=Way(line=f"cargo test{'' if package and not workspace else ' --workspace'}{locked}"),
        dist=Way(line=_PACK) if package and not workspace else None,
    )
