"""Which results go, and which never do."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from vmtasks.config.settings import HostSettings
from vmtasks.run.old import remove_old

DAY_S = 86400


def past(
    home: Path, number: int, *, outcome: str = "test-failed", source: str = "--source a", size_kib: int = 1
) -> Path:
    """Write down a run of so many days ago."""
    path = home / f"tarbake-2026010{number}-000000-{number}"
    path.mkdir()
    (path / "log").write_bytes(b"x" * size_kib * 1024)
    result = {
        "schema": 2, "recipe": "tarbake", "outcome": outcome, "rerun": f"inv tarbake {source}",
        "ended": "then", "duration_s": 1.0, "phases": [], "commands": [],
    }  # fmt: skip
    if outcome == "running":
        result.pop("ended")
    (path / "result.json").write_text(json.dumps(result))
    then_s = time.time() - number * DAY_S + 60
    os.utime(path / "result.json", (then_s, then_s))
    return path


@pytest.mark.parametrize(
    ("bounds", "left"),
    [
        ({}, "12345"),
        ({"results_days": 3.0}, "123"),
        ({"results_runs": 2}, "12"),
        ({"results_mib": 3}, "12"),
        ({"results_days": 0.0, "results_runs": 0, "results_mib": 0}, "12345"),
        ({"results_days": 4.0, "results_runs": 1}, "1"),
    ],
)
def test_age_number_and_size_each_bound_what_is_kept(tmp_path: Path, bounds: dict[str, float], left: str) -> None:
    for number in range(1, 6):
        past(tmp_path, number, size_kib=1300)
    gone = remove_old(tmp_path, HostSettings(**bounds))  # type: ignore[arg-type]
    assert "".join(sorted(path.name[-1] for path in tmp_path.iterdir())) == left
    assert len(gone) == 5 - len(left)


def test_the_last_pass_of_each_project_never_goes(tmp_path: Path) -> None:
    past(tmp_path, 1)
    others = ("--source=b", "c --user d", "d")
    kept = [
        past(tmp_path, 2, outcome="passed"),
        *(past(tmp_path, 4 + n, outcome="passed", source=source) for n, source in enumerate(others)),
    ]
    older = past(tmp_path, 3, outcome="passed")
    assert remove_old(tmp_path, HostSettings(results_runs=1)) == [older]
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"outcome": "passed", "recipe": []}',
        '{"outcome": {}, "recipe": "tarbake", "rerun": []}',
        '{"outcome": "passed", "recipe": "tarbake", "rerun": 1, "phases": 1}',
        "[]",
        "",
        "\x00",
        '{"recipe": "\\ud800"}',
        None,
    ],
)
def test_what_is_no_result_keeps_nothing_and_stops_nothing(content: str | None, tmp_path: Path) -> None:
    past(tmp_path, 1)
    bad, older = past(tmp_path, 2), past(tmp_path, 3)
    path = bad / "result.json"
    if content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_text(content)
    os.utime(path, (0, 0))
    assert {*remove_old(tmp_path, HostSettings(results_runs=1))} == {bad, older}


def test_a_run_that_goes_on_stays_until_nobody_can_wait_for_it_any_more(tmp_path: Path) -> None:
    past(tmp_path, 1)
    going_on = past(tmp_path, 2, outcome="running")
    os.utime(going_on / "result.json", (time.time() - 600, time.time() - 600))
    lost = past(tmp_path, 3, outcome="running")
    assert remove_old(tmp_path, HostSettings(results_days=0.001)) == [tmp_path / "tarbake-20260101-000000-1", lost]
    assert going_on.exists()


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    for name in ("mine", "latest-20260101-000000-x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text("{}")
        os.utime(tmp_path / name / "result.json", (0, 0))
    (tmp_path / "link-20260101-000000-1").symlink_to("mine")
    assert remove_old(tmp_path, HostSettings()) == []
    assert remove_old(tmp_path / "nowhere", HostSettings()) == []
