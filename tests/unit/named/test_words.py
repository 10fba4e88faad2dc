"""What a caller may write: names, and times to live."""

from __future__ import annotations

import pytest

from vmtasks.errors import UsageError
from vmtasks.named.words import LONGEST_NAME, expect_name, shown_s, ttl_s


@pytest.mark.parametrize("name", ["web", "Web-1", "7", "a--b", "x" * LONGEST_NAME])
def test_a_name_has_letters_digits_and_dashes(name: str) -> None:
    assert expect_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "-web", "web-", "a b", "a/b", "..", "a.b", "wéb", "web\n", "*", "x" * (LONGEST_NAME + 1)]
)
def test_what_could_be_a_path_an_option_or_a_pattern_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="a machine cannot be called"):
        expect_name(name)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1d", 86400), ("30d", 2592000)]
)
def test_a_time_to_live(text: str, seconds: int) -> None:
    assert ttl_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "2", "0s", "0h0m", "-1h", "2 h", "h", "30m2h", "31d", "1.5h", "9" * 40 + "s", "٢h"]
)
def test_what_is_no_time_to_live(text: str) -> None:
    with pytest.raises(UsageError, match="--ttl must be a time from 1s to 30d"):
        ttl_s(text)


@pytest.mark.parametrize("text", ["1s", "1m30s", "2h", "1d1h", "30d"])
def test_a_time_to_live_is_shown_as_it_is_written(text: str) -> None:
    assert shown_s(ttl_s(text)) == text
