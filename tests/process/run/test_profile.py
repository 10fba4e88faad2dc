"""--profile of a recipe: each machine of a run is profiled, whatever comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks import CommandFailed, Run, events, use_provider
from vmtasks.run.options import RecipeOptions
from vmtasks.testing import FakeProvider


@pytest.mark.parametrize(("flags", "number"), [(RecipeOptions(), 0), (RecipeOptions(profile=True), 2)])
def test_each_machine_of_a_run(flags: RecipeOptions, number: int, tmp_path: Path) -> None:
    run = Run(recipe="r", flags=flags, directory=tmp_path)
    heard: list[events.Event] = []
    with events.listening(heard.append), use_provider(FakeProvider()):
        with run.boot("bookworm") as guest:
            guest.run("true")
        with pytest.raises(CommandFailed), run.boot("bookworm", name="other") as guest:
            guest.run("false")
    told = [event for event in heard if isinstance(event, events.Profiled)]
    assert [event.machine for event in told] == ["bookworm", "other"][:number]
    notes = [event.text for event in heard if isinstance(event, events.Note)]
    assert sum("cannot profile" in note and "not supported" in note for note in notes) == number
