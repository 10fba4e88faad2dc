"""What a group needs before it starts: slots for all machines, and the existing hosts among its members.

It gets all or none, and whoever waits holds none: a group that has its slots and finds a host in use gives the slots
back, keeps its place in the queue, and waits for the host; one that gets the host and finds the slots gone gives the
host back. So no two of them, and no recipe that takes one after the other, wait for each other for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from vmtasks import events
from vmtasks.errors import UsageError
from vmtasks.group.claim import GroupClaim, claimed
from vmtasks.host import capacity
from vmtasks.host.availability import rules_of
from vmtasks.host.slots import Ticket, waiting_for

if TYPE_CHECKING:
    from vmtasks.group.roles import GroupMember
    from vmtasks.machine.launch import LaunchConfig
    from vmtasks.providers.static_host.visit import HostVisit
    from vmtasks.spec import Machine


@contextmanager
def all_needed(
    ready: Mapping[GroupMember, tuple[Machine, LaunchConfig, Any]],
    visits: Collection[HostVisit],
    check: Callable[[], object],
) -> Iterator[GroupClaim | None]:
    """Have slots for all machines and all hosts, which we got together, for as long as the block lasts.

    :param ready: the machines, all of which are to run on one host.
    :param visits: the hosts that are members.
    :param check: called while we wait; raises when there is nothing to wait for any more.
    :return: what the machines take their slots from; None if there are none.
    :raise HostError: they will never be had.
    """
    with ExitStack() as stack:
        claim = stack.enter_context(_claim([*ready.values()])) if ready else None
        hosts = [visit.host for visit in visits]
        slots = [f"{len(ready)} machine{'s' if len(ready) > 1 else ''}"] if ready else []
        with events.phase("slot", detail=", ".join([*slots, *hosts])):
            queue = events.Waiting("slot")

            def look() -> None:
                queue.remind()
                check()

            def tell(ahead: Sequence[Ticket]) -> None:
                queue.tell(f"the group is waiting{waiting_for(ahead)}")

            stack.enter_context(all_or_none(claim, visits, tell, look))
        yield claim


@contextmanager
def all_or_none(
    claim: GroupClaim | None,
    visits: Collection[HostVisit],
    on_wait: Callable[[Sequence[Ticket]], object],
    check: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Have the slots of a claim and all hosts until the end of the block.

    :param on_wait: told which claims are in the way.
    :param check: called while we wait for slots; raises to give up.
    """

    def wait_for_slots(claim: GroupClaim) -> None:
        claim.wait(on_wait, pause=lambda wait_s: _pause(visits, wait_s, check))

    with ExitStack() as held:
        awaited: GroupClaim | HostVisit | None = claim
        while True:
            with ExitStack() as taken:
                awaited = _take(taken, claim, visits, awaited, wait_for_slots)
                if awaited is None:
                    held.enter_context(taken.pop_all())
                    break
        yield


def _take(
    taken: ExitStack,
    claim: GroupClaim | None,
    visits: Collection[HostVisit],
    awaited: GroupClaim | HostVisit | None,
    wait_for_slots: Callable[[GroupClaim], object],
) -> GroupClaim | HostVisit | None:
    """Wait for one thing, and take the others if they are there by then.

    :param awaited: what to wait for: the slots, or a host; None: nothing.
    :return: what was not there; None if all is taken.
    """
    from vmtasks.providers.static_host.reservation import HostInUseError

    if isinstance(awaited, GroupClaim):
        wait_for_slots(awaited)
    elif awaited is not None:
        taken.enter_context(awaited.reserved())
        # The first look may only bring us back into the queue, from which we stood aside.
        if claim is not None and claim.poll() and claim.poll():
            return claim
    had = [awaited.host] if awaited is not None and not isinstance(awaited, GroupClaim) else []
    for visit in visits:
        if visit is not awaited:
            try:
                taken.enter_context(visit.reserved(waits=False))
                had.append(visit.host)
            except HostInUseError as problem:
                if had and visit.says_it_is_ours(problem):
                    raise UsageError(
                        f"two roles are one machine: {visit.host} is {had[-1]}, or another of them"
                    ) from problem
                if claim is not None:
                    claim.stand_aside()
                return visit
    return None


def _pause(visits: Collection[HostVisit], wait_s: float, check: Callable[[], object]) -> None:
    """Let some time pass in which connections to hosts stay alive.

    :raise ConnectionLost: one has not.
    """
    check()
    for visit in visits:
        visit.session.watch(0.0)
    time.sleep(wait_s)


def _claim(ready: Sequence[tuple[Machine, LaunchConfig, Any]]) -> AbstractContextManager[GroupClaim]:
    machines = [(launch.public_purpose, machine.memory_mib) for machine, launch, _ in ready]
    _, launch, _ = ready[0]
    emulated = any(one.choice.accelerator == "tcg" for _, one, _ in ready)  # one of another architecture always is
    limits = launch.place.call(capacity.limits_of, launch.settings, emulated=emulated)
    return claimed(launch.place, machines, limits, rules_of(launch.settings))
