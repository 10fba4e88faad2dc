"""The short form of ``make torture``: every kind of loss once, each in another phase."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.torture.arena import Arena, arena
from tests.torture.deck import draws
from tests.torture.kinds import INV, RUNVM


@pytest.fixture(scope="module")
def place() -> Iterator[Arena]:
    with arena(INV) as made:
        yield made


@pytest.mark.parametrize(
    ("phase", "process", "way"),
    [
        ("accelerator", "job", "KILL"),
        ("bake", "inv", "KILL"),
        ("slot", "make", "KILL"),
        ("restore", "job", "HUP"),
        ("ready", "shell", "TERM"),
        ("command", "terminal", "closed"),
        ("upload", "stderr", "closed"),
        ("download", "qemu", "KILL"),
        ("checkpoint", "supervisor", "KILL"),
        ("stop", "job", "INT"),
    ],
)
def test_nothing_is_left(place: Arena, phase: str, process: str, way: str) -> None:
    drawn = next(draws(INV, 1, phase=phase, process=process, way=way))
    verdict = place.hold(replace(drawn, on_terminal=process == "terminal", moment=0.5))
    assert verdict.left == ()


def test_the_next_run_works(place: Arena) -> None:
    assert place.try_normally() == ""


def test_nothing_is_left_of_runvm_and_its_image_is_whole() -> None:
    drawn = next(draws(RUNVM, 1, phase="host command", process="runvm", way="KILL"))
    with arena(RUNVM) as place:
        assert place.hold(replace(drawn, on_terminal=False)).left == ()
