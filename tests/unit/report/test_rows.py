"""Rows of result.json that begin and end."""

from __future__ import annotations

import time

import pytest

from vmtasks.report.files.rows import Case, begun_among, ended_among


def case(name: str, duration_s: float | None = None) -> Case:
    return Case(case=name, duration_s=duration_s)


@pytest.mark.parametrize("is_whole", [True, False])
def test_an_end_goes_to_the_last_open_row_of_its_key(*, is_whole: bool) -> None:
    begun = (case("a"), case("b"), case("a"))
    rows: tuple[Case, ...] = begun if is_whole else ()
    for one in () if is_whole else begun:
        rows = begun_among(rows, one)
    rows = ended_among(rows, case("a", 1.0))
    assert rows == (case("a"), case("b"), case("a", 1.0))
    rows = ended_among(rows, case("a", 2.0))
    assert rows == (case("a", 2.0), case("b"), case("a", 1.0))
    rows = ended_among(rows, case("a", 3.0))
    assert rows == (case("a", 2.0), case("b"), case("a", 1.0), case("a", 3.0))
    assert ended_among(rows, case("b", 4.0))[1] == case("b", 4.0)


def test_the_ten_thousandth_row_takes_no_search() -> None:
    rows: tuple[Case, ...] = ()
    for number in range(10_000):
        rows = ended_among(rows, case(str(number), 1.0))
    began_s = time.process_time()
    for number in range(100):
        rows = begun_among(rows, case(f"more {number}"))
        rows = ended_among(rows, case(f"more {number}", 1.0))
        rows = ended_among(rows, case(f"other {number}", 1.0))
    assert (time.process_time() - began_s) / 300 < 0.0015
    assert len(rows) == 10_200
