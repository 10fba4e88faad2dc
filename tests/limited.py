"""A limit on the processor's time: what a host that is busy otherwise takes does not count."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TooLongError(Exception):
    """The limit is over."""


@contextmanager
def limited(limit_s: float) -> Iterator[None]:
    """Have the block fail after so many seconds of this process's own time, in the middle of a match too.

    :raise TooLongError: they are over.
    """

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
