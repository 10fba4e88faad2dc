"""A run as it was written down (result.json), for those who read it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vmtasks.files import typed_json
from vmtasks.files.typed_json import SECONDS

_DURATION = (SECONDS, None)
_SHAPE = {
    "schema": int,
    "recipe": str,
    "outcome": str,
    "started?": (str, None),
    "duration_s": _DURATION,
    "phases": [{"phase": str, "machine": str, "duration_s": _DURATION, "error?": (str, None)}],
    "commands": [{"machine": str, "command": str, "duration_s": _DURATION, "exit_code?": (int, None)}],
    "message?": str,
    "artifacts?": [str],
    "rerun?": str,
    "frozen?": [{"machine": str, "host": str, "snapshot": str, "reason": str}],
    "runs?": [{"combination": str, "outcome": str, "directory": str}],
}


def run_in(text: str | bytes) -> dict[str, Any] | None:
    """Return the run that a text describes; None where it describes none."""
    found: dict[str, Any] | None = typed_json.parse(text, _SHAPE)
    return found


def run_at(path: Path) -> dict[str, Any] | None:
    """Return the run that a file describes; None where there is none."""
    found: dict[str, Any] | None = typed_json.read(path, _SHAPE)
    return found
