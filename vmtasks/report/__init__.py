"""What a run looks like to people and to programs: the listeners to its events."""

from __future__ import annotations

from vmtasks.report.reporting import reporting

__all__ = ["reporting"]
