"""lintian: what it says of packages, in a guest that has it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vmtasks import events
from vmtasks.errors import CommandFailed, TestSkipped
from vmtasks.guest import Guest, Result
from vmtasks.project import source_package

Level = Literal["error", "warning", "info", "none"]
"""The least on which it is to fail."""

_BROKEN = 1
"""Its status for an error of its own, whatever else it has found; 2 is for tags."""
_NOT_CHECKED = re.compile(r"cannot run (\S+) check on package (\S+)")
_TAGS: dict[Level, str] = {"error": "E", "warning": "EW", "info": "EWI", "none": ""}
"""The letters that begin the lines on which lintian is to fail."""


def is_in(guest: Guest) -> bool:
    """Tell whether a guest has lintian."""
    return bool(guest.query("command -v lintian || :").strip())


def check(guest: Guest, files: Sequence[Path], level: Level) -> None:
    """Have lintian look at packages of this host's.

    :param files: .changes and .dsc files, and all files that those name.
    :raise CommandFailed: it found something of *level*, or could not look.
    :raise TestSkipped: the guest has no lintian.
    """
    if not is_in(guest):
        raise TestSkipped("the image has no lintian")
    source_package.open_workshop(guest)
    place = f"{source_package.WORKSHOP}/.lintian"  # which stays: a shell at the failure begins there
    guest.query(["rm", "-rf", "--", place])
    for directory in dict.fromkeys(path.parent for path in files):
        guest.put(directory, place, files=[Path(path.name) for path in files if path.parent == directory])
    guest.query(["chmod", "-R", "a+rX", place])  # the host's umask may have kept them from others
    changes = [path for path in files if path.suffix == ".changes"]
    named = "".join(path.read_text(errors="replace") for path in changes)
    sources = [path for path in files if path.suffix == ".dsc" and path.name not in named]
    listed = [f"{place}/{path.name}" for path in (*changes, *sources)]
    command = ["lintian", "--no-cfg", "--tag-display-limit=0", f"--fail-on={level}", *listed]
    result = guest.run(command, cwd=place, user=source_package.USER, warn=True)
    if result.exited == _BROKEN and _is_only_broken(result, level):
        named = ", ".join(sorted({f"{name} of {package}" for name, package in _unchecked(result)}))
        text = f"lintian has a bug that these packages meet, and could not check {named}"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
    elif not result.ok:
        raise CommandFailed(
            f"lintian on {guest.name} ended with status {result.exited}", details=result.last_lines(), result=result
        )


def _unchecked(result: Result) -> list[tuple[str, str]]:
    """Return the checks that lintian could not do, and of what."""
    return _NOT_CHECKED.findall(result.stdout + result.stderr)


def _is_only_broken(result: Result, level: Level) -> bool:
    """Tell whether all that is wrong are checks that lintian could not do."""
    tags = re.compile(f"[{_TAGS[level]}]: ") if _TAGS[level] else None
    return bool(_unchecked(result)) and not (tags and any(map(tags.match, result.stdout.splitlines())))
