"""How long a test case has taken, without what its machines waited for a slot: that is other people's time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from vmtasks import events

_running: ContextVar[tuple[Stopwatch, ...]] = ContextVar("running", default=())
"""Those of the cases that this thread works for, which :func:`vmtasks.process.threads.parallel` hands to its own."""


class Stopwatch:
    """Counts seconds from its making on, but for the waits for a slot that it hears of."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._waited_s = 0.0
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds of work up to now. Two machines of one case may have waited at the same time: never below 0."""
        return max(0.0, time.monotonic() - self._began_s - self._waited_s)

    def hear(self, event: events.Event) -> None:
        """Be a listener of events, which are told in the thread that works."""
        if isinstance(event, events.PhaseEnded) and event.phase == "slot" and self in _running.get():
            with self._lock:
                self._waited_s += event.duration_s


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Yield a stopwatch of what the block does, in this thread and in those that it starts by ``parallel``."""
    watch = Stopwatch()
    token = _running.set((*_running.get(), watch))
    try:
        with events.listening(watch.hear):
            yield watch
    finally:
        _running.reset(token)
