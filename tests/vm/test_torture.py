"""The short form of ``make torture``: every kind of loss once, each in another phase."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.torture.arena import Arena, arena
from tests.torture.deck import draws
from tests.torture.kinds import GROUP, INV, RUNVM

BUSY_S = 15.0
"""How much longer an end may take, in seconds, beside other tests' machines; ``make torture`` gives nothing more."""


@pytest.fixture(scope="module")
def place() -> Iterator[Arena]:
    with arena(INV, allowance_s=BUSY_S) as made:
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


@pytest.fixture(scope="module")
def group_place() -> Iterator[Arena]:
    with arena(GROUP, allowance_s=BUSY_S) as made:
        yield made


@pytest.mark.parametrize(
    ("phase", "process", "way"),
    [
        ("slot", "switch", "KILL"),
        ("restore", "job", "KILL"),
        ("ready", "switch", "KILL"),
        ("fault", "qemu", "KILL"),
        ("message", "supervisor", "KILL"),
        ("message", "inv", "KILL"),
        ("stop", "job", "INT"),
    ],
)
def test_nothing_is_left_of_a_group(group_place: Arena, phase: str, process: str, way: str) -> None:
    drawn = next(draws(GROUP, 1, phase=phase, process=process, way=way))
    assert group_place.hold(replace(drawn, on_terminal=False, moment=0.5)).left == ()


def test_the_next_group_works(group_place: Arena) -> None:
    assert group_place.try_normally() == ""


def test_nothing_is_left_of_runvm_and_its_image_is_whole() -> None:
    drawn = next(draws(RUNVM, 1, phase="host command", process="runvm", way="KILL"))
    with arena(RUNVM, allowance_s=BUSY_S) as place:
        assert place.hold(replace(drawn, on_terminal=False)).left == ()
