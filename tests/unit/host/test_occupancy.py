"""How busy this host is, as somebody who chooses between hosts is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.host import capacity, declared, slots
from vmtasks.host import occupancy as module
from vmtasks.host.accelerator import Choice
from vmtasks.host.occupancy import Demand, occupancy
from vmtasks.host.slots import Claim, Limits


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a queue of two slots and 1000 MiB that nobody has anything in."""
    directory = str(tmp_path / "queue")
    monkeypatch.setattr(slots, "default_directory", lambda: directory)
    (tmp_path / "config.toml").touch()
    settings = {"CONFIG": str(tmp_path / "config.toml"), "SLOTS": "2", "SLOTS_MEMORY_MIB": "1000", "ACCEL": "tcg"}
    for name, value in settings.items():
        monkeypatch.setenv(f"VMTASKS_{name}", value)
    return directory


def test_a_host_is_asked_without_taking_a_place(queue: str) -> None:
    limits = Limits(machines=2, memory_mib=1000)
    one = occupancy(Demand(memory_mib=512))
    assert (one.availability.state, one.queue, one.has_slot, one.is_large_enough) == ("eager", 0, True, True)
    with Claim("a test", 600, limits, directory=queue) as first:
        assert first.poll() == ()
        assert not occupancy(Demand(memory_mib=512)).has_slot, "so much memory is not left"
        assert occupancy(Demand(memory_mib=400)).has_slot
        with Claim("another", 600, limits, directory=queue) as second:
            assert second.poll() != ()
            busy = occupancy(Demand(memory_mib=400))
            assert (busy.queue, busy.has_slot) == (1, False), "none overtakes another"
    assert not occupancy(Demand(memory_mib=1001)).is_large_enough
    assert occupancy(Demand(memory_mib=512)) == one


def test_who_stands_aside_is_in_nobodys_way(queue: str) -> None:
    limits = Limits(machines=2, memory_mib=1000)
    with Claim("a group", 600, limits, directory=queue) as group:
        assert group.poll() == ()
        group.stand_aside()
        assert (occupancy(Demand(memory_mib=900)).queue, occupancy(Demand(memory_mib=900)).has_slot) == (0, True)


def test_what_was_declared_of_it_is_told(queue: str) -> None:
    declared.declare("reluctant", reason="at work", directory=queue)
    assert (
        occupancy(Demand(memory_mib=512)).availability.state,
        occupancy(Demand(memory_mib=512)).availability.reason,
    ) == ("reluctant", "at work")


def test_a_group_needs_slots_for_all_of_its_machines(queue: str) -> None:
    assert occupancy(Demand(memory_mib=600, machines=2)).has_slot
    with Claim("a test", 300, Limits(machines=2, memory_mib=1000), directory=queue) as claim:
        assert claim.poll() == ()
        assert occupancy(Demand(memory_mib=600)).has_slot
        assert not occupancy(Demand(memory_mib=600, machines=2)).has_slot, "there is one slot left"


def test_a_machine_that_is_emulated_there_counts_as_such(queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VMTASKS_SLOTS")
    monkeypatch.delenv("VMTASKS_ACCEL")
    monkeypatch.setattr(capacity, "cores", lambda _="": 1)

    def choose(_: str, architecture: str) -> Choice:
        return Choice(accelerator="tcg" if architecture == "arm64" else "kvm", reason="a test")

    monkeypatch.setattr(module, "choose", choose)
    with Claim("a test", 100, Limits(machines=2, memory_mib=1000), directory=queue) as claim:
        assert claim.poll() == ()
        assert occupancy(Demand(memory_mib=100)).has_slot, "two share a core"
        assert not occupancy(Demand(memory_mib=100, architectures=("amd64", "arm64"))).has_slot
