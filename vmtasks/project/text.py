"""The text of a project's files, whatever their encoding."""

from __future__ import annotations

from pathlib import Path

from vmtasks.config.bounded import read_file


def text_of(root: Path, name: str) -> str | None:
    """Return the text of a file of the project at *root*; None if there is no such file.

    :raise UsageError: it cannot be read, is no regular file inside the project, or larger than such files are.
    """
    data = read_file(root / name, within=root)
    return None if data is None else data.decode(errors="replace")
