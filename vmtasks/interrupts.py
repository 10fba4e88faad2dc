"""Signals that ask us to end become an exception, so that every ``with`` on the way out does its work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from vmtasks.errors import Interrupted

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Raise :class:`Interrupted` in the main thread when a signal asks us to end; a second one changes nothing.

    Somebody who presses Ctrl-C twice gets no less clean an end: the leash sees to the machine in any case.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return

    def interrupt(number: int, _: FrameType | None) -> None:
        for one in ENDING:
            signal.signal(one, signal.SIG_IGN)
        raise Interrupted(f"interrupted by {signal.Signals(number).name}")

    before = {number: signal.signal(number, interrupt) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
