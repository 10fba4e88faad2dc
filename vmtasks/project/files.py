"""The files of a project that travel to the machine, their date, and what had better be known to stay behind."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from vmtasks.errors import UsageError
from vmtasks.project.changelog import CHANGELOG, date_of
from vmtasks.project.git import git

_OUR_OUTPUT = Path("build/vmtasks")
_BYPRODUCTS = (".venv", "__pycache__")
_SUBMODULE = b"160000 "
_NAMED = 3
"""So many files of a kind are named in a note."""


def source_date_epoch(root: Path) -> int:
    """Return the date of the sources in seconds since the epoch, so that the same tree gives the same bytes.

    It is that of debian/changelog's first entry, else of the last commit that changed something below *root*,
    else of the newest file.

    :raise UsageError: a file cannot be read, or git has a complaint.
    """
    if os.path.lexists(root / CHANGELOG) and (date_s := date_of(root)) is not None:
        return date_s
    if commit := git(root, "rev-list", "--max-count=1", "--timestamp", "HEAD", "--", "."):
        return int(commit.split()[0])
    return max((int((root / path).lstat().st_mtime) for path in tree_files(root)), default=0)


def tree_files(root: Path) -> tuple[Path, ...]:
    """Return the files that travel to the guest, sorted and relative to *root*; links are links.

    In a git checkout these are the tracked files and the new ones that it does not ignore, those of submodules
    too; elsewhere all but byproducts. What this program itself wrote is never among them.

    :raise UsageError: a directory cannot be read, or git has a complaint.
    """
    exclude = [f"--exclude={name}" for name in _BYPRODUCTS]
    listing = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", *exclude)
    if listing or (listing is not None and os.path.lexists(root / ".git")):
        found = _present(root, {Path(os.fsdecode(name)) for name in listing.split(b"\0") if name})
    else:  # no checkout, or one around us that ignores all of us
        found = _walk(root)
    return tuple(sorted(path for path in found if not path.is_relative_to(_OUR_OUTPUT)))


def _present(root: Path, listed: Iterable[Path]) -> Iterator[Path]:
    """Yield those of the files that git knows which are there, and the files of submodules."""
    is_link = cache(lambda path: (root / path).is_symlink())
    for path in sorted(listed):
        if path.is_absolute() or ".." in path.parts:
            raise UsageError(f"cannot send {path}, which git's index names: it is outside of {root}")
        if any(map(is_link, path.parents[:-1])):
            continue  # to git it is still in a directory, but a link has taken that one's place
        if is_link(path) or (root / path).is_file():
            yield path
        elif os.path.lexists(root / path / ".git"):
            yield from (path / below for below in tree_files(root / path))


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}") from error

    for name, directories, files in os.walk(root, onerror=refuse):
        here = Path(name)
        directories[:] = [child for child in directories if child not in {".git", *_BYPRODUCTS}]
        for child in (*directories, *files):
            path = here / child
            if child != ".git" and (path.is_symlink() or path.is_file()):
                yield path.relative_to(root)


def left_behind(root: Path) -> list[str]:
    """Return a sentence for each kind of thing that does not travel, or not as it is, and whose absence may surprise.

    :raise UsageError: a directory cannot be read, or git has a complaint.
    """
    kinds = {
        "empty directories stay on the host": _empty_directories(root),
        "submodules are not checked out": _missing_submodules(root),
        "links lead out of the tree, to what the machine has not": _links_that_leave(root),
    }
    return [f"{sentence}: {_named(paths)}" for sentence, paths in kinds.items() if paths]


def _named(paths: list[Path]) -> str:
    more = len(paths) - _NAMED
    return ", ".join(map(str, paths[:_NAMED])) + (f" and {more} more" if more > 0 else "")


def _empty_directories(root: Path) -> list[Path]:
    listing = git(root, "ls-files", "-z", "--others", "--directory", "--exclude-standard")
    if listing is None:
        empty = (Path(name).relative_to(root) for name, below, files in os.walk(root) if not below and not files)
        return sorted(
            path
            for path in empty
            if not {".git", *_BYPRODUCTS} & {*path.parts} and not path.is_relative_to(_OUR_OUTPUT)
        )
    found = (Path(os.fsdecode(name)) for name in listing.split(b"\0") if name.endswith(b"/"))
    return sorted(path for path in found if not any(files for _, _, files in os.walk(root / path)))


def _missing_submodules(root: Path) -> list[Path]:
    entries = (git(root, "ls-files", "-z", "--stage") or b"").split(b"\0")
    names = (entry.partition(b"\t")[2] for entry in entries if entry.startswith(_SUBMODULE))
    return sorted(path for path in map(Path, map(os.fsdecode, names)) if not os.path.lexists(root / path / ".git"))


def _links_that_leave(root: Path) -> list[Path]:
    top = os.path.realpath(root)

    def leaves(path: Path) -> bool:
        link = root / path
        if not link.is_symlink():
            return False
        target = link.readlink()
        return target.is_absolute() or not Path(os.path.realpath(link)).is_relative_to(top)

    return [path for path in tree_files(root) if leaves(path)]
