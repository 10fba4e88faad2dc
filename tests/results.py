"""Results of runs, as tests look for them: also of a run that had no machine, to which ``latest`` does not lead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def newest(home: Path) -> Path:
    """Return the result.json that was written last below *home*."""
    return max(home.glob("*-*-*/result.json"), key=lambda path: path.stat().st_mtime_ns)


def machines_of(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the machines of a run, but for those that templates were made of: whether it had to make one, is luck."""
    return _but_for_templates(result["machines"])


def commands_of(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the commands of a run, but for those in machines that templates were made of, which have no log."""
    return _but_for_templates(result["commands"])


def _but_for_templates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if not row["machine"].endswith("-template")]
