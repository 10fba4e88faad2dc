"""What a group's block ends with."""

from __future__ import annotations

from typing import Any

import pytest

from vmtasks import ConnectionLost, HostError, Interrupted, Role
from vmtasks.errors import TimedOut
from vmtasks.group.group import Group, GroupEnded
from vmtasks.group.roles import as_roles, members_of
from vmtasks.process.threads import BranchEnded


@pytest.fixture
def group() -> Group:
    return Group(members_of(as_roles({"server": Role(image="bookworm")})), wait_timeout_s=1.0)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), Interrupted("interrupted by SIGTERM"), SystemExit(3)])
def test_an_interrupt_stays_one_though_its_machines_end_with_it(group: Group, interrupt: BaseException) -> None:
    (member,) = group.members
    group.lost(member, ConnectionLost("the connection to server broke"))
    assert group.end is not None
    assert group.ended(interrupt) is interrupt


@pytest.mark.parametrize("problem", [GroupEnded("it has ended"), BranchEnded("ended"), TimedOut("late")])
def test_what_the_end_of_the_group_brought_about_is_told_as_that(group: Group, problem: Exception) -> None:
    (member,) = group.members
    group.lost(member, ConnectionLost("the connection to server broke"))
    assert group.ended(problem) is group.end
    assert "the connection to server broke" in str(group.end)


@pytest.mark.parametrize("gone", [None, HostError("the network of the group is gone")])
def test_what_ends_a_group_while_somebody_looks_ends_it(group: Group, gone: HostError | None) -> None:
    """Many threads look at once, and one of them hears of a member's end."""

    class Network:
        @property
        def end(self) -> HostError | None:
            group.lost(group.members[0], ConnectionLost("the connection to server broke"))
            return gone

    network: Any = Network()
    group.plug(network)
    with pytest.raises(GroupEnded, match="the connection to server broke"):
        group.check()
    assert isinstance(group.end, ConnectionLost), "what came first stays the reason"
