from __future__ import annotations

import time
from pathlib import Path

import pytest

from vmtasks.config import hours
from vmtasks.config.settings import HostSettings
from vmtasks.errors import UsageError

NIGHTS = "Mon-Fri 18:00-08:00, Sat, Sun"


def at(text: str) -> float:
    """Return a time of the week that begins on Monday, 2026-11-30."""
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M"))


@pytest.mark.parametrize(
    ("text", "moment", "is_within"),
    [
        ("20:00-08:00", "2026-11-30 19:59", False),
        ("20:00-08:00", "2026-11-30 20:00", True),
        ("20:00-08:00", "2026-12-01 07:59", True),
        ("20:00-08:00", "2026-12-01 08:00", False),
        ("09:00-17:00", "2026-12-01 12:00", True),
        ("00:00-24:00", "2026-12-01 12:00", True),
        (NIGHTS, "2026-11-30 07:00", False),  # Sunday's night ends with Sunday
        (NIGHTS, "2026-11-30 18:00", True),
        (NIGHTS, "2026-12-04 12:00", False),
        (NIGHTS, "2026-12-05 12:00", True),
        ("sat-mon", "2026-11-30 12:00", True),
        ("Sat-Mon", "2026-12-01 12:00", False),
        ("fri 22:00-6:00", "2026-12-05 05:59", True),
        ("fri 22:00-6:00", "2026-12-05 06:00", False),
    ],
)
def test_hours(text: str, moment: str, is_within: bool) -> None:
    assert hours.is_within(hours.spans(text), at(moment)) is is_within


@pytest.mark.parametrize(
    ("text", "moment", "begins"),
    [
        ("20:00-08:00", "2026-11-30 12:00", "2026-11-30 20:00"),
        (NIGHTS, "2026-12-04 12:00", "2026-12-04 18:00"),
        ("Mon 06:00-07:00", "2026-11-30 07:00", "2026-12-07 06:00"),
        ("Sun", "2026-11-30 12:00", "2026-12-06 00:00"),
    ],
)
def test_when_they_begin(text: str, moment: str, begins: str) -> None:
    assert hours.next_begin_s(hours.spans(text), at(moment)) == at(begins)


def test_no_hours_are_none() -> None:
    assert hours.spans("") == hours.spans("  ") == ()


@pytest.mark.parametrize(
    "text",
    [
        "20-8",
        "20:00",
        "25:00-08:00",
        "20:60-21:00",
        "08:00-08:00",
        "Monday",
        "Mon-",
        "Mon,",
        ",",
        "Mon 8:00",
        "x" * 500,
    ],
)
def test_what_are_no_hours(text: str) -> None:
    with pytest.raises(ValueError, match="are no hours: write '20:00-08:00'"):
        hours.spans(text)


def test_a_setting_that_is_wrong_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"eager_hours \(VMTASKS_EAGER_HOURS\): 'always' are no hours"):
        HostSettings.load({"VMTASKS_EAGER_HOURS": "always"}, system=tmp_path / "config.toml")
