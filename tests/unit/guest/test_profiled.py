"""What a profile's block ends with, whatever the guest says of its traffic afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from tests.samples import sample
from vmtasks import events
from vmtasks.errors import Interrupted, TestFailed
from vmtasks.guest.profiled import profiled
from vmtasks.profile.profile import Profile
from vmtasks.profile.sample_log import SampleLog
from vmtasks.ssh.session import Session

ANSWER = "boot\n\n\neth0: 1 0 0 0 0 0 0 0 2\n"


class Member:
    """The connection to a member of a group, which may have ended; the user may have pressed Ctrl-C."""

    machine = "m"

    def __init__(self) -> None:
        self.has_ended = self.is_interrupted = False

    def check(self) -> None:
        if self.has_ended:
            raise Interrupted("the group has ended: another member is gone")

    def query(self, _: str, *, timeout_s: float) -> str:
        assert timeout_s
        self.check()
        if self.is_interrupted:
            raise Interrupted("interrupted by SIGINT")
        return ANSWER


@contextmanager
def sampling(_: Profile, log: SampleLog, __: float) -> Iterator[None]:
    log.add(sample(0).as_data())
    try:
        yield
    finally:
        log.add(sample(1).as_data())


def end_of(member: Member, work: Callable[[], None]) -> events.Profiled:
    """Profile *work*, and return what is told of that."""
    heard: list[events.Event] = []
    with events.listening(heard.append), pytest.raises(TestFailed, match="it is wrong"):
        profile(member, work)
    (told,) = (one for one in heard if isinstance(one, events.Profiled))
    return told


def profile(member: Member, work: Callable[[], None]) -> None:
    with profiled(cast("Session", member), sampling, None, 1.0):
        work()


def fail() -> None:
    raise TestFailed("it is wrong")


def test_a_failure_is_what_the_block_raises_also_where_its_group_has_ended() -> None:
    member = Member()
    assert end_of(member, fail).network == {"eth0": {"received_bytes": 0, "sent_bytes": 0}}

    def end_and_fail() -> None:
        member.has_ended = True
        fail()

    told = end_of(member, end_and_fail)
    assert told.not_supported["network"] == "the group has ended: another member is gone"


def test_who_asks_to_stop_is_heard_all_the_same() -> None:
    member = Member()

    def interrupt_and_fail() -> None:
        member.is_interrupted = True
        fail()

    with pytest.raises(Interrupted, match="by SIGINT"):
        profile(member, interrupt_and_fail)


def test_a_block_that_passes_hears_of_the_groups_end() -> None:
    member = Member()

    def end() -> None:
        member.has_ended = True

    with pytest.raises(Interrupted, match="the group has ended"):
        profile(member, end)
