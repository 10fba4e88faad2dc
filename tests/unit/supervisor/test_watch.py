"""Bad news of a machine: every thread that waits for it hears them, and none waits for what nothing needs any more."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any, cast

import pytest

from vmtasks.deadline import Deadline
from vmtasks.errors import GuestLost, Interrupted
from vmtasks.supervisor.client import SupervisorClient
from vmtasks.supervisor.watch import MachineWatch


class Said:
    """What a supervisor has said, each thing once."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._messages = deque(messages)

    def next(self, _: float) -> dict[str, Any] | None:
        return self._messages.popleft() if self._messages else None


def watching(*messages: dict[str, Any], check: Any = lambda: None) -> MachineWatch:
    watch = MachineWatch(cast("SupervisorClient", Said(*messages)), "m", Path("/nowhere"), check)
    watch.booted = True
    return watch


def test_a_panic_is_news_for_whoever_asks_later_as_well() -> None:
    watch = watching({"event": "panic", "line": "Kernel panic - not syncing"})
    for _ in range(2):
        with pytest.raises(GuestLost, match="the kernel of m panicked"):
            watch.watch(0.0)
    with pytest.raises(GuestLost, match="the kernel of m panicked"):
        watch.wait_for("started", Deadline.after(5))


def test_no_news_are_no_news() -> None:
    watch = watching({"event": "qemu", "name": "RESUME", "data": {}})
    watch.watch(0.0)
    watch.watch(0.0)


def test_a_wait_ends_when_nothing_needs_the_machine_any_more() -> None:
    def check() -> None:
        raise Interrupted("the group has ended")

    watch = watching({"event": "started"}, check=check)
    with pytest.raises(Interrupted):
        watch.watch(0.0)
    with pytest.raises(Interrupted):
        watch.wait_for("started", Deadline.after(5))
