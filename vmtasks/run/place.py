"""Directories and files that a run writes where the user said, and nowhere that a link of the project's leads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from vmtasks.errors import UsageError


def make_directory(path: Path, *, project: Path) -> Path:
    """Make a directory, and those above it, and return its path.

    A link on the way is the user's, and followed, up to *project*; beneath that it came with the project.

    :raise UsageError: there is a link on the way, in the project.
    :raise OSError: the directory cannot be made.
    """
    from vmtasks.guest.beneath import beneath

    absolute = path.absolute()
    root = next((one for one in (*reversed(absolute.parents), absolute) if _is_same(one, project)), None)
    if root is None:
        path.mkdir(parents=True, exist_ok=True)
        return path
    inside = absolute.relative_to(root)
    if ".." in inside.parts:
        return make_directory(Path(os.path.normpath(Path(os.path.realpath(root), inside))), project=project)
    with beneath(root) as tree:
        try:
            tree.parent_of(inside / "_", make=True)
        except OSError as problem:
            if link := next((one for one in _ways(inside) if (root / one).is_symlink()), None):
                real = os.path.realpath(absolute)
                raise UsageError(
                    f"cannot write to {path}: {root / link} is a link in the project, to {(root / link).readlink()}",
                    hint=f"if it is to go there, name that directory itself (OUT=, --out, VMTASKS_RESULTS): {real}",
                ) from None
            raise OSError(problem.errno, os.strerror(problem.errno or 0), str(path)) from problem
    return path


def _ways(path: PurePath) -> Iterator[PurePath]:
    """Yield what is on the way to a path, and it, but for where that begins."""
    yield from [*reversed(path.parents), path][1:]


def write_file(path: Path, text: str) -> None:
    """Write a file anew: what stands there is replaced, and no link is written through.

    :raise OSError: it cannot be written.
    """
    path.unlink(missing_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
