"""Work that is done once: when it is, when it is kept, and when not; and several such works as one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from vmtasks import Guest, HostError, Preparation, events
from vmtasks.cache.snapshot import Snapshot
from vmtasks.machine.instance import QemuGuest
from vmtasks.machine.launch import BootSource
from vmtasks.providers.preparation import prepare

TEMPLATE = Snapshot(directory=Path("t"), metadata={"kind": "template", "name": "bookworm"})
CHECKPOINT = Snapshot(directory=Path("c"), metadata={"kind": "checkpoint", "name": "tools"})


class Stub(QemuGuest):
    """As much of a guest as provisioning needs."""

    def __init__(self, origin: BootSource, trouble: Exception | None = None) -> None:
        self.name, self.source = "m", origin
        self.trouble = trouble
        self.done: list[object] = []

    def checkpoint(self, name: str, key: str = "") -> Any:
        self.done.append((name, key))
        if self.trouble:
            raise self.trouble


def prepared_source(guest: Stub, *, worth_keeping: bool = True) -> list[object]:
    def work(given: Any) -> bool:
        assert given is guest
        guest.done.append("work")
        return worth_keeping

    prepare(guest, Preparation(name="tools", key="tools 1", run=work))
    return guest.done


def test_the_first_machine_does_the_work_and_is_kept() -> None:
    assert prepared_source(Stub(BootSource(snapshot=TEMPLATE, forkable=True))) == ["work", ("tools", "tools 1")]


def test_the_next_one_has_it_behind_it() -> None:
    assert prepared_source(Stub(BootSource(snapshot=CHECKPOINT))) == []


def test_a_cold_machine_does_it_each_time() -> None:
    assert prepared_source(Stub(BootSource())) == ["work"]


def test_work_that_changed_nothing_is_not_kept() -> None:
    assert prepared_source(Stub(BootSource(snapshot=TEMPLATE, forkable=True)), worth_keeping=False) == ["work"]


def test_that_it_cannot_be_kept_is_said_and_no_error() -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append):
        prepared_source(Stub(BootSource(snapshot=TEMPLATE, forkable=True), HostError("the disk is full")))
    (note,) = heard
    assert isinstance(note, events.Note)
    assert note.text == "cannot keep the machine with tools: the disk is full"


def test_other_errors_are_errors() -> None:
    with pytest.raises(ZeroDivisionError):
        prepared_source(Stub(BootSource(snapshot=TEMPLATE, forkable=True), ZeroDivisionError()))


def preparation(name: str, done: list[str], *, is_new: bool) -> Preparation:
    def run(_: Guest) -> bool:
        done.append(name)
        return is_new

    return Preparation(name=f"the {name}", key=name, run=run)


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        (None, ["tools", ("the tools", "tools"), "libraries", ("the libraries", "tools\nlibraries")]),
        ("tools", ["libraries", ("the libraries", "tools\nlibraries")]),
        ("tools\nlibraries", []),
        ("", []),
    ],
)
def test_each_step_is_kept_by_itself_and_done_where_it_is_not_done_yet(
    behind: str | None, expected: list[object]
) -> None:
    """Where somebody's own checkpoint is booted, nothing is done: it is as it was wanted."""
    done: list[Any] = []
    libraries = replace(preparation("libraries", done, is_new=True), before=preparation("tools", done, is_new=True))
    snapshot = TEMPLATE if behind is None else CHECKPOINT
    guest = Stub(BootSource(snapshot=snapshot, forkable=True, prepared=behind or ""))
    guest.done = done
    prepare(guest, libraries)
    assert done == expected


def test_joined_steps_are_one_step() -> None:
    done: list[Any] = []
    libraries = replace(preparation("libraries", done, is_new=True), before=preparation("tools", done, is_new=True))
    joined = Preparation.joined(libraries, preparation("data", done, is_new=False))
    assert joined
    assert (joined.key, joined.before) == ("tools\nlibraries\ndata", None)
    assert joined.run(cast("Guest", None))
    assert done == ["tools", "libraries", "data"]


@pytest.mark.parametrize(
    ("first", "second", "is_new"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_each_of_several_is_done_and_the_machine_is_kept_for_the_sake_of_any(
    first: bool, second: bool, is_new: bool
) -> None:
    done: list[str] = []
    parts = preparation("tools", done, is_new=first), None, preparation("libraries", done, is_new=second)
    joined = Preparation.joined(*parts)
    assert joined
    assert (joined.name, joined.key) == ("the tools and the libraries", "tools\nlibraries")
    assert joined.run(cast("Guest", None)) is is_new
    assert done == ["tools", "libraries"]


def test_one_is_itself_and_none_is_none() -> None:
    one = preparation("tools", [], is_new=True)
    assert Preparation.joined(None, one) is one
    assert Preparation.joined(None, None) is None
