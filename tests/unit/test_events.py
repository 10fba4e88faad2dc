"""What is told of old names: nobody misses it for having listened too late."""

from __future__ import annotations

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
