"""Where the time went: the phases of a run, added up over its machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmtasks import events as e
from vmtasks.report.files.read import run_at
from vmtasks.report.format import duration
from vmtasks.report.sanitize import one_line
from vmtasks.spec import MAKER

PHASES = ("slot", "overlay", "start", "restore", "boot", "ssh", "upload", "commands", "download", "stop")
"""What each machine goes through; whatever else there was comes behind these."""


@dataclass(kw_only=True)
class Times:
    """Seconds by phase. What machines did at the same time counts for each of them."""

    seconds: Counter[str] = field(default_factory=Counter)
    longest: tuple[float, str] = (0.0, "")
    """The command that took longest."""

    def __call__(self, event: e.Event) -> None:
        """Hear an event."""
        if isinstance(event, e.PhaseEnded):
            self.phase(event.machine, event.phase, event.duration_s)
        elif isinstance(event, e.CommandEnded):
            self.command(event.machine, event.command, event.duration_s)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Times:
        """Add up a run that was written down (result.json)."""
        times = cls()
        for phase in document["phases"]:
            times.phase(phase["machine"], phase["phase"], phase["duration_s"] or 0.0)
        for command in document["commands"]:
            times.command(command["machine"], command["command"], command["duration_s"] or 0.0)
        return times

    def phase(self, machine: str, name: str, duration_s: float) -> None:
        """Add a phase."""
        if not machine.endswith(MAKER):  # all that it does is part of one phase of another machine's
            self.seconds[name] += duration_s  # type: ignore[assignment]
        elif name == "slot":  # ... but to wait for others' machines is no work on a template
            self.seconds[name] += duration_s  # type: ignore[assignment]
            self.seconds["template"] -= duration_s  # type: ignore[assignment]

    def command(self, machine: str, shown: str, duration_s: float) -> None:
        """Add a command."""
        if not machine.endswith(MAKER):
            self.phase(machine, "commands", duration_s)
            self.longest = max(self.longest, (duration_s, shown))

    def names(self) -> list[str]:
        """Return the phases that there were, in the order of a machine's life."""
        spent = [name for name in self.seconds if name != "template" or self.seconds[name] > 0]
        return sorted(spent, key=lambda name: PHASES.index(name) if name in PHASES else len(PHASES))

    def text(self) -> str:
        """Say it in one line; nothing where there was no machine."""
        parts = [f"{name} {duration(self.seconds[name])}" for name in self.names()]
        longest_s, shown = self.longest
        if longest_s:
            parts.append(f"the longest command {duration(longest_s)}: {one_line(shown)[:60]}")
        return ", ".join(parts)


def history(directory: Path, recipe: str, last: int) -> list[dict[str, Any]]:
    """Return the last runs that were written down below *directory*, the oldest first.

    :param recipe: only those of this recipe; empty for all.
    """
    found = sorted(_documents(directory), key=lambda run: str(run["started"]))
    return [run for run in found if recipe in ("", run["recipe"])][-last:]


def _documents(directory: Path) -> Iterable[dict[str, Any]]:
    try:
        paths = [path for path in directory.glob("*/result.json") if not path.parent.is_symlink()]  # but for latest
    except OSError:  # no directory can be called so
        return
    for path in paths:
        document = run_at(path)  # none where another process is cleaning up, or where it is none of ours
        if document and document["schema"] in (1, 2) and document.get("started"):
            yield document
