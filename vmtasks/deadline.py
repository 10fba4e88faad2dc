"""A limit as a point in time, so that it can be handed from wait to wait without growing."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock (seconds); infinity means that there is no limit."""

    at_s: float
    timeout_s: float

    @classmethod
    def after(cls, timeout_s: float | None) -> Deadline:
        """Return the deadline that lies *timeout_s* seconds ahead; None or 0 is no limit."""
        limit = timeout_s or float("inf")
        return cls(at_s=time.monotonic() + limit, timeout_s=limit)

    @property
    def passed(self) -> bool:
        """Whether the point lies behind us."""
        return time.monotonic() >= self.at_s

    @property
    def left_s(self) -> float:
        """Seconds until the point, never negative; infinite where there is no limit."""
        return max(0.0, self.at_s - time.monotonic())

    def within(self, at_most_s: float) -> float:
        """Return the seconds left, but no more than *at_most_s*: what to pass to one wait of many."""
        return min(self.left_s, at_most_s)
