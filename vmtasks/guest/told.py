"""A command in the story of a run: its beginning and its end, as events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vmtasks import events


@contextmanager
def told(machine: str, shown: str, log: Path | None) -> Iterator[Callable[[int], None]]:
    """Tell of a command's beginning and end; its status, once there is one, is to be handed in."""
    status: int | None = None

    def learn(learned: int) -> None:
        nonlocal status
        status = learned

    events.emit(events.CommandStarted(machine=machine, command=shown, log=log))
    began_s = time.monotonic()
    try:
        yield learn
    finally:
        duration_s = time.monotonic() - began_s
        events.emit(
            events.CommandEnded(machine=machine, command=shown, exit_code=status, duration_s=duration_s, log=log)
        )
