"""The text of a project's files, whatever their encoding."""

from __future__ import annotations

from pathlib import Path

from vmtasks.errors import UsageError


def text_of(path: Path) -> str | None:
    """Return a file's text; None if there is no such file.

    :raise UsageError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
