"""Which ports get a frame, and when."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vmtasks.group.forwarding import AT_ONCE, Forwarding, Link

PORTS = ("server", "client1", "client2")
MACS = {name: bytes((0x56, 0, 0, 0, 0, number)) for number, name in enumerate(PORTS, 1)}
ALL = b"\xff" * 6
MULTICAST = bytes.fromhex("01005e000001")


def never_lost() -> float:
    return 0.999


def frame(source: str, target: bytes, size_bytes: int = 100) -> bytes:
    return (target + MACS[source]).ljust(size_bytes, b"\0")


def switch(chance: Callable[[], float] = never_lost, *, knows: tuple[str, ...] = PORTS) -> Forwarding:
    """Return a switch that has heard of some members."""
    made = Forwarding(PORTS, chance)
    for name in knows:
        assert sorted(port for port, _ in made.forward(name, frame(name, ALL), 0.0)) == sorted({*PORTS} - {name})
    return made


def test_a_known_address_is_behind_one_port() -> None:
    assert list(switch().forward("client1", frame("client1", MACS["server"]), 0.0)) == [("server", AT_ONCE)]


@pytest.mark.parametrize("target", [ALL, MULTICAST, MACS["client2"]])
def test_what_is_for_many_or_for_nobody_known_goes_to_all_others(target: bytes) -> None:
    made = switch(knows=("server", "client1"))
    assert [port for port, _ in made.forward("client1", frame("client1", target), 0.0)] == ["server", "client2"]


def test_an_address_moves_with_its_machine() -> None:
    made = switch()
    list(made.forward("client2", frame("server", ALL), 0.0))
    assert [port for port, _ in made.forward("client1", frame("client1", MACS["server"]), 0.0)] == ["client2"]


def test_nothing_comes_back_to_where_it_came_from() -> None:
    made = switch()
    assert list(made.forward("client1", frame("client1", MACS["client1"]), 0.0)) == []


def test_an_inventor_of_addresses_does_not_fill_the_memory() -> None:
    made = switch()
    for number in range(10_000):
        list(made.forward("client1", ALL + b"\x56\1" + number.to_bytes(4, "big") + b"\0\0", 0.0))
    assert len(made._behind) <= 4096


def test_a_cut_link_lets_nothing_through_and_no_other_is_touched() -> None:
    made = switch()
    made.change([("client1", "server"), ("server", "client1")], Link(is_cut=True))
    assert list(made.forward("client1", frame("client1", MACS["server"]), 0.0)) == []
    assert [port for port, _ in made.forward("server", frame("server", ALL), 0.0)] == ["client2"]
    assert [port for port, _ in made.forward("client2", frame("client2", ALL), 0.0)] == ["server", "client1"]
    assert made.is_cut("client1", "server")
    assert not made.is_cut("client2", "server")
    made.change([("client1", "server")], Link())
    assert [port for port, _ in made.forward("client1", frame("client1", MACS["server"]), 0.0)] == ["server"]


def test_a_lossy_link_loses_its_part() -> None:
    drawn = iter([0.1, 0.29, 0.3, 0.9])
    made = switch(lambda: next(drawn))
    made.change([("client1", "server")], Link(loss=0.3))
    arrived = [list(made.forward("client1", frame("client1", MACS["server"]), 5.0)) for _ in range(4)]
    assert arrived == [[], [], [("server", 5.0)], [("server", 5.0)]]


def test_a_long_link_takes_its_time() -> None:
    made = switch()
    made.change([("client1", "server")], Link(delay_s=0.25))
    assert list(made.forward("client1", frame("client1", MACS["server"]), 5.0)) == [("server", 5.25)]
    assert list(made.forward("server", frame("server", MACS["client1"]), 5.0)) == [("client1", AT_ONCE)]


def test_a_slow_link_sends_one_frame_after_the_other_and_drops_what_would_wait_too_long() -> None:
    made = switch()
    made.change([("client1", "server")], Link(bytes_per_s=1000))
    due = [list(made.forward("client1", frame("client1", MACS["server"], 200), 5.0)) for _ in range(5)]
    assert [one[0][1] if one else None for one in due] == pytest.approx([5.2, 5.4, 5.6, None, None])
    (later,) = made.forward("client1", frame("client1", MACS["server"], 200), 9.0)
    assert later[1] == pytest.approx(9.2)
