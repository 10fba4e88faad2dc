"""Whether results that lie about are those of a run of this user's, or came with the project."""

from __future__ import annotations

import os
from pathlib import Path

from vmtasks.errors import UsageError


def expect_ours(directory: Path) -> None:
    """See that a run's results may be gone by, if there are any.

    `latest` is a link to one of the directories beside it, and ours. Another link is the user's up to the working
    directory, as it is when results are written; beneath that it came with the project.

    :raise UsageError: a link leads there, they are another user's, or git knows them.
    """
    if reason := _foreign(directory):
        raise UsageError(
            f"cannot go by the results in {directory}: {reason}, so they may have come with the project",
            hint="run the recipe once more; the results of that are yours",
        )


def _foreign(directory: Path) -> str:
    """Return why results may be somebody else's; nothing if they are not, or there are none."""
    from vmtasks.project.git import git

    place = Path(os.path.abspath(directory))  # noqa: PTH100 - links are to stay in it
    for path in (place, *place.parents):
        if path.name == "latest" and path.is_symlink() and _is_name(beside := path.readlink()):
            place = path.parent / beside / place.relative_to(path)
            break
    result, here = place / "result.json", Path.cwd()
    way = [place, *(path for path in place.parents if path != here and path.is_relative_to(here))]
    if link := next((path for path in (result, *way) if path.is_symlink()), None):
        return f"{link} is a link"
    if not result.exists():
        return ""
    for path in (result, place):
        if path.lstat().st_uid != os.geteuid():
            return f"{path} is another user's"
    return f"git knows {result}" if git(place, "ls-files", "--", result.name) else ""


def _is_name(path: Path) -> bool:
    return len(path.parts) == 1 and path.name not in ("", "..")
