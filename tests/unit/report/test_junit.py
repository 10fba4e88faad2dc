from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from vmtasks import events as e
from vmtasks.errors import Outcome
from vmtasks.report.files.junit import JunitFile

STARTED = e.RunStarted(recipe="install-test", directory=Path("/runs/1"), rerun="inv install-test", at_s=0.0)


def suite_of(*events: e.Event) -> ET.Element:
    suite = JunitFile(Path("junit.xml"))
    for event in events:
        suite.hear(event)
    text = suite.text()
    assert text is not None
    found = ET.fromstring(text.encode()).find("testsuite")  # noqa: S314 - our own text
    assert found is not None
    return found


def rows(suite: ET.Element) -> dict[str | None, list[str]]:
    return {case.get("name"): [verdict.tag for verdict in case] for case in suite}


def case(name: str, outcome: str) -> e.CaseEnded:
    return e.CaseEnded(case=name, outcome=outcome, duration_s=1.5, message=f"{name} ended", details=("one", "two"))


WORDS = {outcome: ["error"] for outcome in Outcome} | {
    Outcome.PASSED: [],
    Outcome.FAILED: ["failure"],
    Outcome.SKIPPED: ["skipped"],
}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_word_for_each_outcome_of_a_case(outcome: Outcome) -> None:
    suite = suite_of(STARTED, case("smoke", outcome), e.RunEnded(outcome=outcome, at_s=2.0))
    assert rows(suite) == {"smoke": WORDS[outcome]}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_word_for_each_outcome_of_a_run_without_cases(outcome: Outcome) -> None:
    suite = suite_of(STARTED, e.RunEnded(outcome=outcome, at_s=2.0))
    assert rows(suite) == {"install-test": WORDS[outcome]}


def test_counts_and_texts() -> None:
    suite = suite_of(
        STARTED,
        case("good", "passed"),
        case("bad", "test-failed"),
        case("left", "skipped"),
        case("late", "timeout"),
        e.RunEnded(outcome="test-failed", at_s=7.25),
    )
    counts = {name: suite.get(name) for name in ("name", "tests", "failures", "errors", "skipped", "time", "timestamp")}
    assert counts == {
        "name": "install-test",
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
        "time": "7.250",
        "timestamp": "1970-01-01T00:00:00",
    }
    failure = suite.find("testcase[@name='bad']/failure")
    assert failure is not None
    assert failure.attrib == {"message": "bad ended", "type": "test-failed"}
    assert failure.text == "one\ntwo"


def test_a_bad_end_outside_any_case_is_told() -> None:
    suite = suite_of(STARTED, case("smoke", "passed"), e.RunEnded(outcome="host", message="disk full"))
    assert rows(suite) == {"smoke": [], "install-test": ["error"]}


def test_a_case_that_was_cut_short_carries_the_end_of_the_run() -> None:
    suite = suite_of(
        STARTED,
        case("smoke", "passed"),
        e.CaseStarted(case="upgrade", at_s=1.0),
        e.RunEnded(outcome="connection-lost", console=("panic",), at_s=3.0),
    )
    assert rows(suite) == {"smoke": [], "upgrade": ["error"]}
    error = suite.find("testcase[@name='upgrade']/error")
    assert error is not None
    assert error.text == "panic"


def test_before_the_end_there_is_no_file() -> None:
    suite = JunitFile(Path("junit.xml"))
    assert not suite.hear(STARTED)
    assert not suite.hear(case("smoke", "passed"))
    assert suite.text() is None
    assert suite.hear(e.RunEnded(outcome="passed"))


def test_any_text_makes_valid_xml() -> None:
    nasty = "".join(map(chr, range(0x100))) + "\ud800\ufffe\uffff]]>&<\"'\x1b[31m\U0001f389"
    ended = e.CaseEnded(case=nasty, outcome="host", duration_s=1, message=nasty, details=(nasty,))
    suite = suite_of(STARTED, ended, e.RunEnded(outcome="host", message=nasty))
    error = suite.find("testcase/error")
    assert error is not None
    assert error.text is not None
    assert error.text.endswith("]]>&<\"'\U0001f389")


def test_what_kernels_report_is_the_suites_whatever_became_of_the_run() -> None:
    alarm = e.ConsoleAlarm(
        machine="m", type="oops", severity="error", message="BUG: x", lines=("[  1.0] BUG: x\x1b[2J\x00", "[  1.1] RIP")
    )
    suite = suite_of(STARTED, case("smoke", "passed"), alarm, e.RunEnded(outcome="passed", at_s=2.0))
    assert suite.get("failures") == suite.get("errors") == "0"
    assert suite.findtext("system-err") == "m: its kernel reports (oops): BUG: x\n[  1.0] BUG: x\u2400\n[  1.1] RIP"
    assert [child.tag for child in suite] == ["testcase", "system-err"]
