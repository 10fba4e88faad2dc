"""Bad news of a machine: every thread that waits for it hears them, and none waits for what nothing needs any more."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any, cast

import pytest

from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, ConnectionLost, GuestLost, Interrupted, TimedOut
from vmtasks.supervisor.client import SupervisorClient
from vmtasks.supervisor.watch import MachineWatch


class Said:
    """What a supervisor has said, each thing once."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._messages = deque(messages)

        self.asked: list[str] = []
        self.exited: dict[str, Any] | None = None

    def next(self, _: float) -> dict[str, Any] | None:
        message = self._messages.popleft() if self._messages else None
        if message and message["event"] == "exited":
            self.exited = message
        return message

    def qmp(self, command: str, **_: object) -> None:
        self.asked.append(command)


RESET = {"event": "qemu", "name": "RESET", "data": {"guest": False, "reason": "host-qmp-system-reset"}}
PANIC = {"event": "panic", "line": "Kernel panic - not syncing"}


def ended(status: int, *, by_itself: bool = True) -> dict[str, Any]:
    return {"event": "exited", "status": status, "by_itself": by_itself, "error": "", "qemu": "", "console": "bye"}


def watching(*messages: dict[str, Any], check: Any = lambda: None) -> MachineWatch:
    watch = MachineWatch(cast("SupervisorClient", Said(*messages)), "m", Path("/nowhere"), check)
    watch.greeted = watch.booted = True
    return watch


def test_a_panic_is_news_for_whoever_asks_later_as_well() -> None:
    watch = watching({"event": "panic", "line": "Kernel panic - not syncing"})
    for _ in range(2):
        with pytest.raises(GuestLost, match="the kernel of m panicked"):
            watch.watch(0.0)
    with pytest.raises(GuestLost, match="the kernel of m panicked"):
        watch.wait_for("started", Deadline.after(5))


def test_a_machine_that_has_lived_as_long_as_it_may_is_over_its_limit_and_did_nothing_wrong() -> None:
    watch = watching({"event": "expired", "lifetime_s": 7200})
    for _ in range(2):
        with pytest.raises(TimedOut, match="m has lived for 7200 s, which was its time to live"):
            watch.watch(0.0)
    assert not watch.listens


def test_a_reset_is_the_end_of_a_panic_and_the_next_boot_may_have_one_of_its_own() -> None:
    watch = watching(PANIC, {"event": "qemu", "name": "RESET", "data": {"guest": True}}, PANIC, RESET, PANIC)
    with pytest.raises(GuestLost, match="the kernel of m panicked"):
        watch.watch(0.0)
    assert not watch.listens
    watch.reset()
    assert watch.listens
    with pytest.raises(GuestLost, match="the kernel of m panicked"):
        watch.watch(0.0)


def test_a_machine_that_is_gone_cannot_be_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watching(ended(0))
    for _ in range(2):
        with pytest.raises(GuestLost, match="m is gone: it powered itself off"):
            watch.reset()
    monkeypatch.setattr("vmtasks.supervisor.watch.RESET_LIMIT_S", 0.01)
    with pytest.raises(BootError, match=r"m: QEMU did not reset it within 0\.01 s"):
        watching().reset()


def test_a_machine_that_was_to_switch_itself_off_has_or_that_is_told() -> None:
    watching(PANIC, ended(0)).wait_off(Deadline.after(5))
    with pytest.raises(TimedOut, match=r"m did not switch itself off within 0\.01 s"):
        watching(PANIC).wait_off(Deadline.after(0.01))
    with pytest.raises(ConnectionLost, match="m is gone: QEMU ended with status 3"):
        watching(ended(3)).wait_off(Deadline.after(5))


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
