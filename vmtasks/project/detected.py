"""What was found out about a project's tree."""

from __future__ import annotations

from dataclasses import dataclass, field

from vmtasks.project.kinds.kind import Guess, Way


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """What was found out about a tree; empty where nothing tells."""

    name: str
    version: str = ""
    guesses: tuple[Guess, ...] = ()
    """What it looks like to each kind that knows it, in the order of :data:`vmtasks.project.detect.KINDS`."""
    test: Way = field(default_factory=lambda: Way(line=""))
    dist: Way = field(default_factory=lambda: Way(line=""))
    packages: tuple[str, ...] = ()
    suite: str = "bookworm"
    variant: str = "build"
    """Which image of the suite builds and tests it."""
    note: str = ""
    """What decides the images, if they are not the usual ones."""

    @property
    def untested(self) -> str:
        """Why no test command was detected, as one sentence; empty if one was, or nothing tells."""
        return "" if self.test.line else next((one.untested for one in self.guesses if one.untested), "")

    @property
    def kind(self) -> str:
        """What it is and what tells so, in words; empty where no kind knows it."""
        chosen = min(self.guesses, key=lambda one: 0 if one.test else 1 if one.dist else 2, default=None)
        return f"{chosen.kind} ({chosen.known_by})" if chosen else ""
