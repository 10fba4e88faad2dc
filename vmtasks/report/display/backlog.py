"""Guest output on its way to a terminal, which is slow: what does not fit is counted, not queued."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

MOST_LINES = 300
"""Lines that can wait, and that are drawn at once at most."""

FLOODED_LINES = 20
"""Lines that are drawn of a flood, each time ..."""

FLOOD_EVERY_S = 1.0
"""... and how often: a reader can follow that, and so can the terminal."""

_LONGEST_LINE = 2000


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be drawn now: how many lines each machine had left out, then the newest lines."""

    left_out: dict[str, int] = field(default_factory=dict)
    lines: tuple[tuple[str, str], ...] = ()
    """A machine and a line each, oldest first."""


class Backlog:
    """Keeps the newest lines until they are drawn. Not locked: its owner is."""

    def __init__(self) -> None:
        self._lines: deque[tuple[str, str]] = deque()
        self._left_out: Counter[str] = Counter()
        self._drawn_s = float("-inf")

    def add(self, machine: str, lines: str) -> None:
        """Add whole *lines*, the last of which ends with its line feed too. Costs what is kept, not what comes."""
        if not lines:
            return
        newest = lines[:-1].rsplit("\n", MOST_LINES)
        if len(newest) > MOST_LINES:
            self._left_out[machine] += newest.pop(0).count("\n") + 1
        self._lines.extend((machine, _clipped(line)) for line in newest)
        self._shorten(MOST_LINES)

    def take(self, now_s: float, *, everything: bool = False) -> Batch:
        """Return what can be drawn at *now_s* (monotonic), and forget it.

        :param everything: draw the end of a flood without waiting for its next turn.
        """
        if self._left_out:
            if not everything and now_s - self._drawn_s < FLOOD_EVERY_S:
                return Batch()
            self._shorten(FLOODED_LINES)
            self._drawn_s = now_s
        draught = Batch(left_out=dict(self._left_out), lines=tuple(self._lines))
        self._lines.clear()
        self._left_out.clear()
        return draught

    def _shorten(self, most: int) -> None:
        while len(self._lines) > most:
            machine, _ = self._lines.popleft()
            self._left_out[machine] += 1


def _clipped(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + " …"
