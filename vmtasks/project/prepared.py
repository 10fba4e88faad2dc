"""What is done once for a project's tests: a shell line, the files that decide its result, and the key of all that."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks.errors import UsageError
from vmtasks.files.checksum import sha256_of
from vmtasks.project import pip
from vmtasks.project.files import tree_files

if TYPE_CHECKING:
    from vmtasks.project.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneOnce:
    """A line that is run where there are these files of the project and no others: nothing else decides its result."""

    line: str
    files: tuple[Path, ...]
    """Relative to the project's root."""
    key: str
    """The same only where the line, its environment, the Debian packages and each byte of the files are the same."""

    @classmethod
    def of(cls, project: Project) -> DoneOnce | None:
        """Return what a project has done once; None if it has nothing of the kind.

        :raise UsageError: one of the files cannot be read.
        """
        commands = project.commands
        if not commands.prepare.strip():
            return None
        files = tuple(path for path in _travelling(project) if _is_one_of(path, commands.prepare_files))
        decides = {
            "line": commands.prepare,
            "env": dict(sorted(commands.env.items())),
            "packages": commands.packages,
            "index": pip.of_this_host() if project.is_python else {},
            "files": {os.fsencode(path).hex(): _digest(project.root / path) for path in files},
        }
        return cls(
            line=commands.prepare,
            files=files,
            key=hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest(),
        )


def _travelling(project: Project) -> tuple[Path, ...]:
    return tree_files(project.root) if project.commands.prepare_files else ()


def _is_one_of(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(str(path), pattern) for pattern in patterns)


def _digest(path: Path) -> str:
    """Return what tells a file from all others; of a link, it is where it leads.

    :raise UsageError: it cannot be read.
    """
    try:
        if path.is_symlink():
            return f"link {os.fsencode(path.readlink()).hex()}"
        return sha256_of(path)
    except OSError as problem:
        raise UsageError(f"cannot read {path}: {problem.strerror}") from problem
