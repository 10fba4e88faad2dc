"""What runvm makes of the words that are its commands."""

from __future__ import annotations

import pytest

from vmtasks.integrations.runvm.steps import GuestCommand, step_of

SCRIPT = "set -ex\ncd buildbot\n! make\n= 1"


@pytest.mark.parametrize(
    ("word", "line", "on_host", "always"),
    [
        ("make", "make", False, False),
        ("  make", "  make", False, False),
        ("=make", "make", True, False),
        ("= make", "make", True, False),
        ("=\n make", "make", True, False),
        ("!make", "make", False, True),
        ("!  make", "make", False, True),
        ("=!make", "make", True, True),
        ("=! make", "make", True, True),
        ("!=make", "make", True, True),
        ("! = make", "make", True, True),
        ("!= make || true", "make || true", True, True),
        ("= ! make", "! make", True, False),
        ("!! make", "! make", False, True),
        ("== make", "= make", True, False),
        (SCRIPT, SCRIPT, False, False),
        (f"!= {SCRIPT}", SCRIPT, True, True),
        ("", "", False, False),
        ("=", "", True, False),
    ],
)
def test_what_stands_in_front_of_a_command(word: str, line: str, on_host: bool, always: bool) -> None:
    assert step_of(word) == GuestCommand(line=line, on_host=on_host, always=always)
