"""What runs at once in several guests: a branch that is to end ends its command there, and the guest goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from vmtasks import BootOptions, Guest, TimedOut, parallel
from vmtasks.errors import TestFailed as ProjectFailed
from vmtasks.providers.base import MachineRequest
from vmtasks.testing import FakeProvider

WAITS = "echo $$ >pid; sleep 600 & wait"


@pytest.fixture
def guests() -> Iterator[list[Guest]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(FakeProvider().machine(MachineRequest(image="", options=BootOptions(name=name))))
            for name in ("one", "other")
        ]


def test_the_first_failure_ends_the_others_commands_in_their_guests(guests: list[Guest]) -> None:
    one, other = guests

    def fails() -> None:
        other.wait_for_file("begun", timeout_s=20)
        one.succeed("exit 3")

    with pytest.raises(ProjectFailed, match=r"`exit 3` on one"):
        parallel(lambda: other.run(f"touch begun; {WAITS}"), fails, fail_fast=True)
    other.fail("kill -0 $(cat pid)")
    assert other.is_up()


def test_a_common_limit_does_so_too_and_what_cleans_up_runs(guests: list[Guest]) -> None:
    rooms: list[str] = []

    def waits(guest: Guest) -> None:
        with guest.tmp_dir() as room:
            rooms.append(room)
            guest.run(WAITS)

    with pytest.raises(TimedOut, match=r"2 of 2 have failed: branch 1 did not end within 2 s"):
        parallel(*(lambda guest=guest: waits(guest) for guest in guests), timeout_s=2)
    for guest, room in zip(guests, sorted(rooms, key=lambda room: not guests[0].glob(room)), strict=True):
        guest.fail("[ ! -e pid ] || kill -0 $(cat pid)")
        assert not guest.glob(room)
