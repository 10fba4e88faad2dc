"""``--on 'alice@big|bob@bigger|local'``: one of several hosts, the first that is eager and has a slot.

With ``|`` between the names, because a comma asks for a run on each already, and no name has a ``|`` in it. A run
chooses once: its machines, and what is kept of them, are in one place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import HostError, UsageError
from vmtasks.host.availability import EAGER, NONE
from vmtasks.process.threads import check_interrupted

if TYPE_CHECKING:
    from vmtasks.host.occupancy import Demand, Occupancy
    from vmtasks.providers.base import MachineRequest

    Ask = Callable[[str, Demand], Occupancy]

BAR = "|"
LOOK_S = 5.0
"""How often hosts are asked again that all take no machines."""
TELL_S = 60.0
"""How often that is told again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A host that can be reached, and how busy it is."""

    name: str
    is_busy: Occupancy

    @property
    def serves(self) -> bool:
        """Whether it takes machines at all."""
        return self.is_busy.availability.state != NONE

    @property
    def is_best(self) -> bool:
        """Whether there can be no better one behind it."""
        return self.is_busy.availability.state == EAGER and self.is_busy.has_slot

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """The least is chosen: eager ones first, then those with a slot, then by the queue."""
        one = self.is_busy
        return one.availability.state != EAGER, not one.has_slot, one.queue

    def __str__(self) -> str:
        slot = "with a free slot" if self.is_busy.has_slot else f"with {self.is_busy.queue} waiting"
        return f"{self.name}, which is {self.is_busy.availability.state}, {slot}"


def is_choice(on: str) -> bool:
    """Tell whether ``--on`` leaves a choice."""
    return BAR in on


def names_of(on: str) -> tuple[str, ...]:
    """Return the hosts between which there is a choice, in the order of preference.

    :raise UsageError: one has no queue that could be asked, is empty or is there twice.
    """
    names = tuple(name.strip() for name in on.split(BAR))
    if "" in names:
        raise UsageError(f"--on {on} has an empty name", hint=f"names are separated by one {BAR} each")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--on {on} names {twice} twice")
    if other := next((name for name in names if name == "ec2" or name.startswith(("ssh://", "ec2:"))), None):
        raise UsageError(
            f"cannot choose between {other} and others: it has no queue of machines",
            hint="a choice is between local and USER@HOST; with a comma, there is a run on each",
        )
    return names


def best_of(candidates: Iterable[Candidate]) -> Candidate | None:
    """Return the host to go to, the first of equals; None: none of them takes machines."""
    return min((one for one in candidates if one.serves), key=lambda one: one.rank, default=None)


def ask_host(name: str, demand: Demand) -> Occupancy:
    """Return how busy a host is.

    :raise HostError: it cannot be reached.
    """
    from vmtasks.host.occupancy import occupancy
    from vmtasks.host.slots import SlotsUnavailableError
    from vmtasks.providers.qemu.provider import place_of

    try:
        return place_of(name).call(occupancy, demand)
    except SlotsUnavailableError as problem:
        raise HostError(str(problem)) from problem


@dataclass(slots=True)
class Choices:
    """What one run has chosen."""

    ask: Ask = ask_host
    _made: dict[str, str] = field(default_factory=dict)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def settled(self, request: MachineRequest, on: str, group: Sequence[MachineRequest] = ()) -> MachineRequest:
        """Return a request that leaves no choice.

        :param on: the choice.
        :param group: all requests that go to the same host at once, this one among them; nothing: it is alone.
        :raise UsageError: it is none between hosts that have a queue.
        :raise HostError: no host of it can be had.
        """
        with self._one_at_a_time:
            if on not in self._made:
                self._made[on] = self._choose(group or (request,), on)
            return replace(request, options=replace(request.options, on=self._made[on]))

    def _choose(self, requests: Sequence[MachineRequest], on: str) -> str:
        """Return the host to go to, after waiting for one that takes machines if need be."""
        names = list(names_of(on))
        demand = _demand(requests)
        machine = requests[0].name if len(requests) == 1 else ""
        silent_s = TELL_S
        while True:
            candidates: list[Candidate] = []
            for one in self._reached(names, demand):
                candidates.append(one)
                if one.is_best:
                    break
            if not names:
                raise HostError(f"cannot run on any of {on}: none can be had", hint="the warnings say why")
            if found := best_of(candidates):
                events.emit(events.Note(machine=machine, text=f"runs on {found}{_passed_over(candidates, found)}"))
                return found.name
            if silent_s >= TELL_S:
                why = "; ".join(f"{one.name}: {one.is_busy.availability}" for one in candidates)
                events.emit(events.Note(machine=machine, text=f"waiting: no host takes new machines ({why})"))
                silent_s = 0.0
            check_interrupted()
            threading.Event().wait(LOOK_S)
            silent_s += LOOK_S

    def _reached(self, names: list[str], demand: Demand) -> Iterator[Candidate]:
        """Yield the hosts that answer; those that cannot be had go from *names*, with a warning."""
        for name in tuple(names):
            try:
                one = Candidate(name=name, is_busy=self.ask(name, demand))
            except HostError as problem:
                reason = str(problem)
            else:
                if one.is_busy.is_large_enough:
                    yield one
                    continue
                reason = f"{demand} never fits there"
            names.remove(name)
            events.emit(events.Note(text=f"{name} is left out: {reason}", level="warning"))


def _demand(requests: Sequence[MachineRequest]) -> Demand:
    """Return what machines will claim, all of which are made from images: a checkpoint leaves no choice."""
    from vmtasks.host.occupancy import Demand
    from vmtasks.image.definition import find

    images = [(find(request.image), request.options) for request in requests if isinstance(request.image, str)]
    return Demand(
        memory_mib=sum(options.memory_mib or image.memory_mib for image, options in images),
        machines=len(images),
        architectures=tuple(dict.fromkeys(image.architecture for image, _ in images)),
        accel=requests[0].options.accel,
    )


def _passed_over(candidates: Iterable[Candidate], found: Candidate) -> str:
    """Say why those that were named earlier do not serve."""
    reasons = []
    for one in candidates:
        if one is found:
            break
        state = one.is_busy.availability.state
        reasons.append(f"{one.name} {'takes none' if state == NONE else f'is {state}, {one.is_busy.queue} waiting'}")
    return f" ({'; '.join(reasons)})" if reasons else ""
