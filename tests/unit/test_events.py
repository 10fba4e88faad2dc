"""What is told of old names: nobody misses it for having listened too late."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vmtasks import events
from vmtasks.run.options import RecipeOptions


def test_what_nobody_heard_of_an_old_name_is_told_after_the_first_event() -> None:
    events.renamed("--old", "--new")
    events.renamed("--old", "--new")
    heard: list[events.Event] = []
    with events.listening(heard.append):
        events.emit(events.Note(text="one"))
        events.emit(events.Note(text="two"))
    assert [event.text for event in heard if isinstance(event, events.Note)] == ["one", "--old is now --new", "two"]
    assert events.unheard() == ()


def test_an_old_flag_is_told_though_flags_are_read_before_the_run() -> None:
    from dataclasses import fields

    options = {flag.name: "" for flag in fields(RecipeOptions)}
    assert RecipeOptions.taken_from(options | {"keep_s": "7"}).keep_for_s == 7
    assert [note.text for note in events.unheard()] == ["--keep-s is now --keep-for-s"]


def test_what_is_waited_for_is_told_once_and_again_when_it_is_time_to(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 59.9, 60.0, 119.0, 125.0])
    monkeypatch.setattr(events, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(events, "emit", (heard := []).append)
    queue = events.Waiting("slot", machine="m")
    queue.tell("waiting behind a")
    queue.tell("waiting behind a")
    for _ in range(4):
        queue.remind()
    note, *reminders = heard
    assert (note.text, note.machine) == ("waiting behind a", "m")
    assert [(one.phase, one.done, one.detail) for one in reminders] == [
        ("slot", 60, "waiting behind a"),
        ("slot", 125, "waiting behind a"),
    ]


def test_nothing_is_told_again_that_was_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMIND_S", 0.0)
    monkeypatch.setattr(events, "emit", (heard := []).append)
    events.Waiting("slot").remind()
    assert heard == []
