"""How long a machine may live, where that is limited: its supervisor holds the limit, whatever becomes of its caller.

Standard library only. Source: clock_gettime(2); CLOCK_BOOTTIME goes on while the host sleeps, as people's clocks do.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Lifetime:
    """A time to live, which begins when it is set.

    :param lifetime_s: 0 is no limit.
    :param tell: is told, each time, until when (seconds since the epoch); None: without limit.
    """

    def __init__(self, lifetime_s: int, tell: Callable[[float | None], None] = lambda _: None) -> None:
        self._tell = tell
        self.lifetime_s = 0
        self._end_s = 0.0
        self._until_s: float | None = None
        self.set(lifetime_s)

    def set(self, lifetime_s: int) -> float | None:
        """Begin anew, with *lifetime_s* seconds from now; return until when that is."""
        self.lifetime_s = lifetime_s
        self._end_s = _now_s() + lifetime_s
        self._until_s = time.time() + lifetime_s if lifetime_s else None
        self._tell(self._until_s)
        return self._until_s

    def tell_again(self) -> None:
        """Tell once more until when that is: more has changed."""
        self._tell(self._until_s)

    def left_s(self, at_most_s: float) -> float:
        """Return how many seconds are left, *at_most_s* where there are more."""
        return max(0.0, min(at_most_s, self._end_s - _now_s())) if self.lifetime_s else at_most_s

    @property
    def is_over(self) -> bool:
        """Whether it has passed."""
        return bool(self.lifetime_s) and self.left_s(1.0) == 0


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
