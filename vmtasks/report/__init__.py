"""What a run looks like to people and to machines: the listeners to the engine's events."""

from __future__ import annotations

from vmtasks.report.attach import reporting

__all__ = ["reporting"]
