"""Patterns of strangers, searched for by a real process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks.frameworks.lava import patterns
from vmtasks.frameworks.lava.patterns import GROUPS, Patterns
from vmtasks.frameworks.lava.recorder import Recorder
from vmtasks.process import matching

CASE = r"^(?P<test_case_id>\S+) (?P<result>\w+)(?: (?P<measurement>\d+))?$"
EVIL = r"(?P<test_case_id>(a+)+)$"
LONG = "a" * 40 + "!"


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def search(told: list[str]) -> Iterator[Patterns]:
    search = Patterns(told.append)
    yield search
    search.close()


def children() -> set[int]:
    return {int(pid) for pid in Path("/proc/self/task").glob("*/children") for pid in pid.read_text().split()}


def test_what_is_found_is_told_line_for_line(search: Patterns, told: list[str]) -> None:
    lines = [
        "a pass",
        "nothing here!",
        "",
        "b\u00e4\ufffd fail 12",
        "x" * 100_000,
        *(f"n{i} pass" for i in range(5000)),
    ]
    found = list(search.search(CASE, lines))
    assert found[:5] == [
        [{"test_case_id": "a", "result": "pass", "measurement": ""}],
        [],
        [],
        [{"test_case_id": "b\u00e4\ufffd", "result": "fail", "measurement": "12"}],
        [],
    ]
    assert [one["test_case_id"] for (one,) in found[5:]] == [f"n{number}" for number in range(5000)]
    assert told == []
    assert set(found[0][0]) <= set(GROUPS)


PAIR = r"(?P<test_case_id>[a-z]+)=(?P<result>(?:PASS|FAIL)\b)"


@pytest.mark.parametrize(
    ("pattern", "printed", "found"),
    [
        (PAIR, ["aa=PASS bb=FAIL"], [["aa PASS", "bb FAIL"]]),
        (PAIR, [f"{'-' * 4090}cc=PASS{'-' * 9000}dd=FAIL"], [["cc PASS", "dd FAIL"]]),
        (
            r"^\s+(?P<test_case_id>\w+) (?P<result>\w+)",
            ["  a pass", "b fail", "\tc fail"],
            [["a pass"], [], ["c fail"]],
        ),
        (r"^(?P<test_case_id>\w+) (?P<result>\w+)$", ["  a pass", "b fail"], [[], ["b fail"]]),
        (r"(?P<test_case_id>\w+): (?P<result>pass|fail)\s+", ["a: pass", "b: fail"], [["a pass"], ["b fail"]]),
        (r"Case (?P<test_case_id>\w+)\s+Result (?P<result>\w+)", ["Case a", " Result FAIL"], [[], ["a FAIL"]]),
        (r"Case (?P<test_case_id>\w+)\s+Result (?P<result>\w+)", ["Case a", "-", "Result FAIL"], [[], [], []]),
        (r"(?P<test_case_id>[^:]+): (?P<result>\w+)", ["no case", "a: pass"], [[], ["a pass"]]),
        (r"(?P<test_case_id>\w*)(?P<result>!?)", ["!", ""], [[" !"], []]),
    ],
)
def test_all_that_is_in_a_line_is_found_and_what_is_of_several(
    search: Patterns, pattern: str, printed: list[str], found: list[list[str]]
) -> None:
    def cases(lines: list[str]) -> list[list[str]]:
        return [[f"{one['test_case_id']} {one['result']}" for one in line] for line in search.search(pattern, lines)]

    assert cases(printed) == found
    search.begin()
    assert [line for one in printed for line in cases([one])] == found  # as they come, one by one


def test_what_was_printed_before_the_beginning_is_part_of_nothing(search: Patterns) -> None:
    pattern = r"Case (?P<test_case_id>\w+)\s+Result (?P<result>\w+)"
    assert list(search.search(pattern, ["Case a"])) == [[]]
    search.begin()
    assert list(search.search(pattern, ["Result pass"])) == [[]]


def test_a_pattern_is_given_up_after_its_time_and_another_is_not(
    search: Patterns, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "LIMIT_S", 0.2)
    assert list(search.search(EVIL, ["aa", LONG, "aa"])) == [[], [], []]
    assert told == [
        "its pattern is given up: a processor has worked on a few lines for more than 0.2 s; cases may be missing"
    ]
    assert list(search.search(EVIL, ["aa"])) == [[]]
    assert len(told) == 1
    assert search.complaint(EVIL) == told[0]
    assert list(search.search(CASE, ["a pass"])) != [[]]
    assert search.complaint(CASE) == ""


def test_what_ends_for_another_reason_is_told_as_that(search: Patterns, told: list[str]) -> None:
    before = children()
    assert list(search.search(CASE, ["a pass"])) != [[]]
    (process,) = children() - before
    os.kill(process, signal.SIGKILL)
    assert list(search.search(CASE, ["a pass"] * 1000)) == [[]] * 1000
    assert told == ["its pattern is given up: what searches for it has ended with status -9; cases may be missing"]


def test_a_search_that_fills_the_memory_is_told_as_that(
    search: Patterns, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "_TOGETHER", 1 << 30)
    assert list(search.search("(?P<test_case_id>(?:(x)|(y))*)z", ["x" * (4 << 20)])) == [[]]
    assert told == [
        f"its pattern is given up: the search for it takes more than {matching.MEMORY_BYTES >> 20} MiB of memory; "
        "cases may be missing"
    ]


def test_no_pattern_takes_no_process_and_the_end_takes_it_along(search: Patterns) -> None:
    before = children()
    recorder = Recorder("m", {})
    recorder.hear_output(b"a pass\n")
    assert children() == before
    assert list(search.search(CASE, ["a pass"])) != [[]]
    assert children() != before
    search.close()
    search.close()
    assert children() == before
