"""Which of several hosts a run goes to: eager ones first, then by their slots and queues, then in the order given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vmtasks import BootOptions, HostError, UsageError, events
from vmtasks.host.availability import Availability
from vmtasks.host.occupancy import Demand, Occupancy
from vmtasks.image.definition import find
from vmtasks.providers import choice
from vmtasks.providers.base import MachineRequest
from vmtasks.providers.boot import expect_place, settled, settled_group, use_provider
from vmtasks.providers.choice import Choices, is_choice, names_of
from vmtasks.remote.codec import decode, encode
from vmtasks.testing import FakeProvider

REQUEST = MachineRequest(image="bookworm", options=BootOptions(name="m", memory_mib=512))


def busy(state: str = "eager", queue: int = 0, *, slot: bool = False, fits: bool = True) -> Occupancy:
    availability = Availability(state, "", None, "", 0.0)
    return Occupancy(availability=availability, queue=queue, has_slot=slot, is_large_enough=fits)


FREE = busy(slot=True)
LOST = HostError("cannot reach it: no route to host")


class Hosts:
    """Hosts that say how busy they are; the last answer of each lasts."""

    def __init__(self, **answers: Occupancy | HostError | list[Occupancy]) -> None:
        self._answers = {name: one if isinstance(one, list) else [one] for name, one in answers.items()}
        self.asked: list[str] = []
        self.demand = Demand(memory_mib=512)

    def __call__(self, name: str, demand: Demand) -> Occupancy:
        assert demand == self.demand
        self.asked.append(name)
        answers = self._answers[name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, HostError):
            raise answer
        return answer


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def choose(notes: list[str]) -> Callable[[Hosts], str]:
    """Return what chooses between a, b and c; what it tells is noted."""

    def choose(hosts: Hosts) -> str:
        def hear(event: events.Event) -> None:
            if isinstance(event, events.Note):
                notes.append(event.text)

        with events.listening(hear):
            return Choices(hosts).settled(REQUEST, "a|b|c").options.on

    return choose


@pytest.mark.parametrize(
    ("a", "b", "c", "chosen"),
    [
        (FREE, FREE, FREE, "a"),
        (busy(queue=1), FREE, FREE, "b"),
        (busy(queue=3), busy(queue=1), busy(queue=2), "b"),
        (busy(queue=1), busy(queue=1), busy("reluctant", slot=True), "a"),
        (busy("reluctant", slot=True), busy(queue=9), busy("none", slot=True), "b"),
        (busy("reluctant", queue=1), busy("reluctant", slot=True), busy("none"), "b"),
        (busy("none", slot=True), busy("none", slot=True), busy("reluctant", queue=9), "c"),
        (busy(slot=True, fits=False), busy("reluctant"), LOST, "b"),
        (LOST, LOST, FREE, "c"),
    ],
)
def test_the_best_host_is_chosen(
    choose: Callable[[Hosts], str], a: Occupancy, b: Occupancy, c: Occupancy, chosen: str
) -> None:
    assert choose(Hosts(a=a, b=b, c=c)) == chosen


def test_nobody_is_asked_behind_one_that_is_as_good_as_can_be(choose: Callable[[Hosts], str]) -> None:
    hosts = Hosts(a=busy("reluctant", slot=True), b=FREE, c=FREE)
    assert choose(hosts) == "b"
    assert hosts.asked == ["a", "b"]


def test_one_note_says_which_was_chosen_and_why(choose: Callable[[Hosts], str], notes: list[str]) -> None:
    choose(Hosts(a=busy("none"), b=busy("reluctant", queue=2), c=busy(queue=1)))
    assert notes == ["runs on c, which is eager, with 1 waiting (a takes none; b is reluctant, 2 waiting)"]
    notes.clear()
    choose(Hosts(a=FREE))
    assert notes == ["runs on a, which is eager, with a free slot"]


def test_hosts_that_cannot_be_had_are_told(choose: Callable[[Hosts], str], notes: list[str]) -> None:
    choose(Hosts(a=LOST, b=busy(slot=True, fits=False), c=FREE))
    assert notes == [
        "a is left out: cannot reach it: no route to host",
        "b is left out: a machine of 512 MiB never fits there",
        "runs on c, which is eager, with a free slot",
    ]


def test_where_no_host_can_be_had_the_run_ends(choose: Callable[[Hosts], str]) -> None:
    with pytest.raises(HostError, match=r"cannot run on any of a\|b\|c: none can be had"):
        choose(Hosts(a=LOST, b=LOST, c=LOST))


def test_where_none_takes_machines_the_first_that_does_again_is_waited_for(
    choose: Callable[[Hosts], str], notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "LOOK_S", 0.001)
    shut = busy("none", slot=True)
    hosts = Hosts(a=shut, b=[shut, shut, shut, busy("reluctant", slot=True)], c=LOST)
    assert choose(hosts) == "b"
    assert hosts.asked.count("c") == 1, "what is left out is not asked again"
    assert notes[1:] == [
        "waiting: no host takes new machines (a: the host takes no new machines; b: the host takes no new machines)",
        "runs on b, which is reluctant, with a free slot (a takes none)",
    ]


def test_a_run_chooses_once() -> None:
    hosts = Hosts(a=busy(queue=1), b=[FREE, busy(queue=9)])
    choices = Choices(hosts)
    assert [choices.settled(REQUEST, "a|b").options.on for _ in range(3)] == ["b", "b", "b"]
    assert hosts.asked == ["a", "b"]


def asks(image: str, **more: Any) -> MachineRequest:
    return MachineRequest(image=image, options=BootOptions(name=image, **{"on": "a|b", **more}))


def test_a_host_is_asked_for_machines_of_the_images_architecture() -> None:
    hosts = Hosts(a=FREE)
    hosts.demand = Demand(memory_mib=find("bookworm-arm64").memory_mib, architectures=("arm64",), accel="tcg")
    assert settled(asks("bookworm-arm64", accel="tcg"), Choices(hosts)).options.on == "a"


def test_a_group_goes_where_all_of_its_machines_fit_together(notes: list[str]) -> None:
    hosts = Hosts(a=busy(slot=True, fits=False), b=FREE)
    hosts.demand = Demand(
        memory_mib=700 + find("bookworm-arm64").memory_mib, machines=2, architectures=("amd64", "arm64")
    )
    requests = {
        "one": asks("bookworm", memory_mib=700),
        "board": asks("", on="ssh://board"),
        "two": asks("bookworm-arm64"),
    }

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Note):
            notes.append(f"{event.machine}: {event.text}")

    with events.listening(hear):
        found = settled_group(requests, Choices(hosts))
    assert {member: one.options.on for member, one in found.items()} == {"one": "b", "board": "ssh://board", "two": "b"}
    assert hosts.asked == ["a", "b"]
    assert notes == [
        f": a is left out: a group of 2 machines of {hosts.demand.memory_mib} MiB never fits there",
        ": runs on b, which is eager, with a free slot",
    ]


def test_a_place_that_is_none_is_no_choice() -> None:
    assert settled(replace(REQUEST, options=BootOptions(on="alice@big"))).options.on == "alice@big"
    with use_provider(FakeProvider()):
        assert settled(replace(REQUEST, options=BootOptions(on="a|b"))).options.on == "a|b", "a fake is everywhere"


def test_settings_may_leave_a_choice_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_ON", "a | b")
    hosts = Hosts(a=busy("none"), b=FREE)
    assert settled(REQUEST, Choices(hosts)).options.on == "b"


def test_names_are_separated_by_bars() -> None:
    assert is_choice("alice@big|local")
    assert not is_choice("alice@big,local")
    assert names_of("alice@big | local") == ("alice@big", "local")
    expect_place("alice@big|local")


@pytest.mark.parametrize(
    ("on", "says"),
    [
        ("a||b", r"--on a\|\|b has an empty name"),
        ("a|", "has an empty name"),
        ("a|b|a", "names a twice"),
        ("a|ssh://board", "cannot choose between ssh://board and others: it has no queue of machines"),
        ("ec2|local", "cannot choose between ec2 and others"),
        ("a|-oProxyCommand=id", r"cannot have machines on '-oProxyCommand=id'"),
    ],
)
def test_what_is_no_choice_is_refused_before_anybody_is_asked(on: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        expect_place(on)


def test_how_busy_a_host_is_travels() -> None:
    assert decode(encode(busy("reluctant", 3))) == busy("reluctant", 3)
    demand = Demand(memory_mib=1, machines=2, architectures=("arm64", "amd64"), accel="tcg")
    assert decode(encode(demand)) == demand
