"""Work that is done once: when it is, when it is kept, and when not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmtasks import HostError, Provisioning, events
from vmtasks.cache.snapshots import Frozen
from vmtasks.machine.launch import Origin
from vmtasks.providers.preparation import provision

TEMPLATE = Frozen(directory=Path("t"), said={"kind": "template", "name": "bookworm"})
CHECKPOINT = Frozen(directory=Path("c"), said={"kind": "checkpoint", "name": "tools"})


class Stub:
    """As much of a guest as provisioning needs."""

    name = "m"

    def __init__(self, origin: Origin, trouble: Exception | None = None) -> None:
        self.facts = {"origin": origin}
        self.trouble = trouble
        self.done: list[object] = []

    def checkpoint(self, name: str, key: str) -> None:
        self.done.append((name, key))
        if self.trouble:
            raise self.trouble


def provisioned(guest: Stub, *, worth_keeping: bool = True) -> list[object]:
    def work(given: Any) -> bool:
        assert given is guest
        guest.done.append("work")
        return worth_keeping

    provision(guest, Provisioning(name="tools", key="tools 1", work=work))  # type: ignore[arg-type]
    return guest.done


def test_the_first_machine_does_the_work_and_is_kept() -> None:
    assert provisioned(Stub(Origin(frozen=TEMPLATE, forkable=True))) == ["work", ("tools", "tools 1")]


def test_the_next_one_has_it_behind_it() -> None:
    assert provisioned(Stub(Origin(frozen=CHECKPOINT))) == []


def test_a_cold_machine_does_it_each_time() -> None:
    assert provisioned(Stub(Origin())) == ["work"]


def test_work_that_changed_nothing_is_not_kept() -> None:
    assert provisioned(Stub(Origin(frozen=TEMPLATE, forkable=True)), worth_keeping=False) == ["work"]


def test_that_it_cannot_be_kept_is_said_and_no_error() -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append):
        provisioned(Stub(Origin(frozen=TEMPLATE, forkable=True), HostError("the disk is full")))
    (note,) = heard
    assert isinstance(note, events.Note)
    assert note.text == "cannot keep the machine with tools: the disk is full"


def test_other_errors_are_errors() -> None:
    with pytest.raises(ZeroDivisionError):
        provisioned(Stub(Origin(frozen=TEMPLATE, forkable=True), ZeroDivisionError()))
