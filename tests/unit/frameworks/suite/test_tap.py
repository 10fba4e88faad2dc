"""TAP as bats, avocado and others write it, whole and cut off."""

from __future__ import annotations

import pytest

from vmtasks.frameworks.suite.cases import SuiteCase
from vmtasks.frameworks.suite.tap import parse_tap

BATS = """1..3
ok 1 adds <two> # in 26 ms
not ok 2 fails # x # in 23 ms
# (in test file b/a.bats, line 2)
#   `@test "fails # x" { echo why; [ 1 = 2 ]; }' failed
# why
ok 3 skips # skip not today
"""
AVOCADO = """1..6
not ok 1 ./bad.sh
ok 2 ./ok.sh
ok 3 ./one.py:One.test_ok
not ok 4 ./one.py:One.test_bad
ok 5 ./one.py:One.test_skip  # SKIP not here
not ok 6 ./one.py:One.test_err"""


def verdicts(text: str) -> list[tuple[str, str]]:
    return [(case.name, case.verdict) for case in parse_tap(text).cases]


@pytest.mark.parametrize("by_bats", [False, True])
def test_what_bats_writes(*, by_bats: bool) -> None:
    report = parse_tap(BATS, by_bats=by_bats)
    assert report.complaint == ""
    assert report.cases == (
        SuiteCase(name="adds <two>", verdict="passed", duration_s=0.026),
        SuiteCase(
            name="fails # x",
            verdict="failed",
            duration_s=0.023,
            message="why",
            details=(
                "(in test file b/a.bats, line 2)",
                '  `@test "fails # x" { echo why; [ 1 = 2 ]; }\' failed',
                "why",
            ),
        ),
        SuiteCase(name="skips", verdict="skipped", message="not today"),
    )


@pytest.mark.parametrize(
    ("line", "name", "verdict", "message"),
    [
        # With --timing bats 1.8.2 has printed these:
        ("ok 1 does # skip lines in 12ms", "does # skip lines", "passed", ""),
        ("not ok 1 fails # skip lines in 12ms", "fails # skip lines", "failed", ""),
        ("ok 1 a # skip those in 14ms # skip not # skip today", "a # skip those", "skipped", "not # skip today"),
        ("ok 1 bare in 14ms # skip", "bare", "skipped", "skip"),
        ("not ok 1 later # todo it in 197ms", "later # todo it", "failed", ""),
        ("not ok 1 slow in 197ms # timeout after 1 s", "slow", "failed", ""),
        # And others write them so:
        ("ok 1 does # skip lines # in 12 ms", "does # skip lines", "passed", ""),
        ("ok 1 skips # skip not today", "skips", "skipped", "not today"),
        ("ok 1 # skip lines # skip not today", "# skip lines", "skipped", "not today"),
        ("ok 1 is done in 5ms or so in 7ms", "is done in 5ms or so", "passed", ""),
    ],
)
def test_titles_of_bats_have_no_directives(line: str, name: str, verdict: str, message: str) -> None:
    (case,) = parse_tap(f"1..1\n{line}\n", by_bats=True).cases
    assert (case.name, case.verdict, case.message) == (name, verdict, message)


def test_what_avocado_writes() -> None:
    report = parse_tap(AVOCADO)
    assert report.complaint == ""
    assert [case.verdict for case in report.cases] == ["failed", "passed", "passed", "failed", "skipped", "failed"]
    assert report.cases[4] == SuiteCase(name="./one.py:One.test_skip", verdict="skipped", message="not here")


def test_version_14_with_subtests_and_yaml() -> None:
    text = """TAP version 14
    ok 1 - inner
    1..1
ok 1 - outer
not ok 2 - broken
  ---
  message: no
  ...
ok 3
1..3 # all
"""
    assert verdicts(text) == [("outer", "passed"), ("broken", "failed"), ("test 3", "passed")]
    assert parse_tap(text).complaint == ""
    assert "  message: no" in parse_tap(text).cases[1].details


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("ok 1 a # TODO later", "passed"),
        ("not ok 1 a # TODO later", "skipped"),
        ("ok 1 a # SKIP", "skipped"),
        ("ok 1 a # skip: no", "skipped"),
        ("not ok 1 a # skip no", "failed"),
        ("not ok 1 a # Skipped: no", "failed"),
        ("ok 1 a#skip", "passed"),
        ("ok 1 a # skipping", "passed"),
        ("not ok 1 a # todos are listed", "failed"),
    ],
)
def test_directives(line: str, verdict: str) -> None:
    (case,) = parse_tap(f"1..1\n{line}\n").cases
    assert case.verdict == verdict


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1..5\nok 1 a\nok 2 b\n", "it is cut off: only 2 of 5 tests have told a result"),
        ("1..2\nok 1 a\nok 2 b\nok 3 c\n", "it has 3 results, and 2 were planned"),
        ("ok 1 a\nok 2 b\n", "it has no plan, so it is cut off: 2 of its tests have told a result"),
        ("", "it has neither a plan nor results"),
        ("1..9\nok 1 a\nBail out! no database\nok 2 b\n", "its tests bailed out after 1: no database"),
        ("Bail out!\n", "its tests bailed out after 0"),
        ("1..0\n", ""),
        ("1..0 # SKIP no tests here\n", ""),
    ],
)
def test_what_is_not_whole_is_told(text: str, complaint: str) -> None:
    assert parse_tap(text).complaint == complaint


def test_what_only_looks_like_a_result_is_none() -> None:
    assert verdicts("1..1\nokay\nnot okay\nok 1 x\n  ok 2 nested\n# ok 3 comment\n") == [("x", "passed")]


def test_a_long_line_takes_no_longer_than_its_length() -> None:
    for part in ("# ", " # skip", " in 1ms # skip", "in 1ms "):
        line = "ok 1 " + part * 100_000
        for by_bats in (False, True):
            assert len(parse_tap(f"1..1\n{line}\n", by_bats=by_bats).cases) == 1
