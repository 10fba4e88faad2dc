"""The shell line that fetches the crates of a Rust project where nothing of it is there but its manifests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from itertools import count, islice
from pathlib import Path, PurePosixPath
from typing import Any

from vmtasks.errors import UsageError
from vmtasks.project.kinds.kind import Tree, table, word

_TARGETS = {"bin": "src/bin", "example": "examples", "test": "tests", "bench": "benches"}
"""The tables of targets in a manifest -> where one lies that says nothing else."""
_DEPENDENCIES = ("dependencies", "dev-dependencies", "build-dependencies")
_MEMBERS = 200
"""So many members of a workspace are looked at: with more, the crates are fetched by the tests."""
_DEPTH, _LONGEST, _LOOKED_AT = 8, 255, 10_000
"""So deep directories, such names and so many of them are looked at for all patterns of members."""
_CONFIG = (".cargo/config.toml", ".cargo/config", "rust-toolchain.toml", "rust-toolchain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """A shell line, and the files that it needs."""

    line: str
    files: tuple[str, ...]


def fetch(tree: Tree, cargo: Mapping[str, Any]) -> Fetch | None:
    """Return what fetches the crates that the tests will need; None where the manifests do not tell them all.

    cargo reads no manifest whose targets are not there. So it reads a copy, in which each of them is an empty file; the
    project's own sources come to a tree that has none of these.
    """
    try:
        found = manifests(tree, cargo)
    except (OSError, ValueError, re.error, UsageError):
        return None  # whether that is an error is cargo's to say, and not that of every recipe
    if tree.has("vendor") or not any(map(_has_dependencies, found.values())):
        return None
    targets = dict.fromkeys(f"{place}{name}" for place, one in found.items() for name in _targets(one))
    if any(leaves(name) for name in targets):
        return None
    # A lock that is made now is the one that the tests go by.
    is_locked = tree.has("Cargo.lock")
    lines = [
        'copy=$(mktemp -d) && cp -R . "$copy" && cd "$copy"',
        *(f"install -D /dev/null {shlex.quote(name)}" for name in targets),
        "cargo fetch --locked" if is_locked else 'cargo fetch && cp Cargo.lock "$OLDPWD"',
    ]
    names = (*(f"{place}Cargo.toml" for place in found), *(("Cargo.lock",) if is_locked else ()))
    return Fetch(line=" && ".join(lines), files=(*names, *(name for name in _CONFIG if tree.has(name))))


def manifests(tree: Tree, cargo: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the manifests of the project and of its workspace's members, by the beginning of their paths.

    :raise ValueError: there are more than :data:`_MEMBERS` of them, or a pattern is none that is looked for.
    :raise UsageError: one of them cannot be read.
    """
    members = [*islice(_members(tree, cargo), _MEMBERS + 1)]
    if len(members) > _MEMBERS:
        raise ValueError(f"more than {_MEMBERS} members")
    return {"": cargo, **{f"{name}/": tree.toml(f"{name}/Cargo.toml") for name in sorted({*members})}}


def _members(tree: Tree, cargo: Mapping[str, Any]) -> Iterator[str]:
    """Yield the directories of a workspace's members as they are found: those that it names, or depends on.

    :raise ValueError: a pattern is for any depth, or for nothing that is looked for; or there are too many of them.
    :raise OSError: a directory cannot be read.
    """
    workspace = table(cargo, "workspace")
    named, excluded = workspace.get("members"), workspace.get("exclude")
    dependencies = [entry for kind in _DEPENDENCIES for entry in table(cargo, kind).values() if isinstance(entry, dict)]
    paths = [one["path"] for one in dependencies if "path" in one]
    patterns = [*(named if isinstance(named, list) else []), *paths]
    if len(patterns) > _MEMBERS:
        raise ValueError(f"more than {_MEMBERS} members")
    looked_at = count(1)
    for pattern in patterns:
        if leaves(word(pattern)) or not word(pattern):
            continue
        if "**" in word(pattern):
            raise ValueError(f"all of the tree would be looked through for {pattern}")
        for name in _directories(tree.root, PurePosixPath(word(pattern)).parts, looked_at):
            has_manifest = name and (tree.root / name / "Cargo.toml").exists()
            if has_manifest and not (isinstance(excluded, list) and name in excluded):
                yield name


def _directories(root: Path, pattern: Sequence[str], looked_at: Iterator[int]) -> list[str]:
    """Return the directories that a pattern for paths stands for, relative to *root*.

    :param looked_at: counts the names that are looked at.
    :raise ValueError: it is too deep, leads by way of a link, or these are more than :data:`_LOOKED_AT`.
    :raise OSError: a directory cannot be read.
    """
    if len(pattern) > _DEPTH or any(len(part) > _LONGEST for part in pattern):
        raise ValueError("deeper directories, or longer names, than there are")
    found = [""]
    for part in pattern:
        is_wanted = re.compile(translate(part)).match if re.search(r"[*?\[]", part) else None
        below: list[str] = []
        for directory in found:
            for name in (one.name for one in (root / directory).iterdir()) if is_wanted else [part]:
                path = f"{directory}/{name}".lstrip("/")
                if next(looked_at) > _LOOKED_AT:
                    raise ValueError(f"more than {_LOOKED_AT} names")
                if (is_wanted and not is_wanted(name)) or not (root / path).is_dir():
                    continue
                if (root / path).is_symlink():
                    raise ValueError(f"{path} is a link, which may lead anywhere, to where it comes from too")
                below.append(path)
        found = below
    return sorted(found)


def _has_dependencies(manifest: Mapping[str, Any]) -> bool:
    return any(table(manifest, kind) for kind in (*_DEPENDENCIES, "target"))


def _targets(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the sources that a manifest may name, relative to where it is."""
    package = table(manifest, "package")
    if not package:
        return
    yield word(table(manifest, "lib").get("path")) or "src/lib.rs"
    if build := word(package.get("build")):
        yield build
    for kind, directory in _TARGETS.items():
        entries = manifest.get(kind)
        for entry in entries if isinstance(entries, list) else []:
            name = word(table({"entry": entry}, "entry").get("name"))
            yield word(table({"entry": entry}, "entry").get("path")) or f"{directory}/{name or 'main'}.rs"


def leaves(name: str) -> bool:
    """Whether a path may lead out of the project."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or re.search(r"[\0\n]", name) is not None
