"""What a suite comes to."""

from __future__ import annotations

import pytest

from vmtasks.errors import NothingTested, TestFailed, UsageError
from vmtasks.frameworks.suite.cases import CaseVerdict, SuiteCase, SuiteReport
from vmtasks.frameworks.suite.runners import command_of, runner_of
from vmtasks.frameworks.suite.verdict import judge

AVOCADO, BATS, PYTEST = map(runner_of, ("avocado", "bats", "pytest"))


def report(*verdicts: CaseVerdict, complaint: str = "") -> SuiteReport:
    cases = tuple(
        SuiteCase(name=f"t{number}", verdict=verdict, details=("why",) if verdict == "failed" else ())
        for number, verdict in enumerate(verdicts, 1)
    )
    return SuiteReport(cases=cases, complaint=complaint)


def test_a_pass_says_how_many() -> None:
    assert judge("s", report("passed", "skipped"), BATS, status=0) == "the suite s: of 2 cases 1 passed, 1 skipped"


def test_a_failed_case_is_named_with_its_lines() -> None:
    with pytest.raises(TestFailed) as failure:
        judge("s", report("passed", "failed"), BATS, status=1)
    assert str(failure.value) == "the suite s: of 2 cases 1 passed, 1 failed (t2)"
    assert failure.value.details == ("t2: why",)


def test_results_that_are_cut_off_fail_though_all_of_them_passed() -> None:
    with pytest.raises(TestFailed, match="of 1 cases 1 passed; it is cut off"):
        judge("s", report("passed", complaint="it is cut off"), BATS, status=0)


def test_a_status_that_no_case_explains_fails() -> None:
    with pytest.raises(TestFailed, match="1 passed, but avocado ended with status 8"):
        judge("s", report("passed"), AVOCADO, status=8)


def test_a_runner_without_results_fails_with_what_it_printed() -> None:
    with pytest.raises(TestFailed, match="the suite s has no results: avocado ended with status 4") as failure:
        judge("s", None, AVOCADO, status=4, printed=("unrecognized arguments",))
    assert failure.value.details == ("unrecognized arguments",)
    with pytest.raises(TestFailed, match="the suite s has no results: pytest ended with status 0"):
        judge("s", None, PYTEST, status=0)
    with pytest.raises(TestFailed, match="no results: avocado ended with status 2"):
        judge("s", None, AVOCADO, status=2, printed=("another trouble",))


def test_a_suite_without_tests_tests_nothing() -> None:
    with pytest.raises(NothingTested, match="the suite s has no tests that bats finds"):
        judge("s", report(), BATS, status=0)
    with pytest.raises(NothingTested, match="the suite s has no tests that pytest finds"):
        judge("s", report(), PYTEST, status=5)
    text = "Test Suite could not be created. No test references provided nor any other arguments resolved into tests"
    with pytest.raises(NothingTested, match="the suite s has no tests that avocado finds"):
        judge("s", None, AVOCADO, status=2, printed=(text,))


def test_a_suite_that_was_skipped_tests_nothing() -> None:
    with pytest.raises(NothingTested, match="of 2 cases 2 skipped"):
        judge("s", report("skipped", "skipped"), BATS, status=0)


def test_many_failures_are_not_all_named() -> None:
    with pytest.raises(TestFailed, match=r"t10 and 15 more\)"):
        judge("s", report(*(["failed"] * 25)), BATS, status=1)


def test_a_runner_that_is_unknown() -> None:
    with pytest.raises(UsageError, match="there is no runner 'pytset'; known are shell, avocado, bats, pytest") as no:
        runner_of("pytset")
    assert "pytest" in no.value.hint


def test_words_of_a_command_line_are_never_read_by_the_shell() -> None:
    *_, line, name, first, second = command_of(BATS, ["--filter", "a; b"])
    assert (name, first, second) == ("bats", "--filter", "a; b")
    assert "a; b" not in line
