from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import Outcome
from vmtasks.events import Progress, RunEnded, RunStarted
from vmtasks.report.format import how_far, relative, share
from vmtasks.report.summary import duration, summary

STARTED = RunStarted(recipe="test-in-vm", directory=Path("/runs/1"), rerun="make test-in-vm", at_s=100.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.04, "0.0 s"),
        (9.44, "9.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (72, "1 min 12 s"),
        (3599.9, "1 h 0 min"),
        (7512, "2 h 5 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("progress", "text", "part"),
    [
        (Progress(phase="p", done=3, total=8), "3 of 8", 0.375),
        (Progress(phase="p", done=3), "3", None),
        (Progress(phase="p", done=1 << 20, total=3 << 20, unit="bytes"), "1.0 of 3.0 MiB", 1 / 3),
        (Progress(phase="p", done=1 << 20, unit="bytes"), "1.0 MiB", None),
        (Progress(phase="p", done=9, total=8), "9 of 8", 1.0),
    ],
)
def test_how_far(progress: Progress, text: str, part: float | None) -> None:
    assert how_far(progress) == text
    assert share(progress) == part


def test_near_is_from_here_where_that_is_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative(tmp_path / "build" / "x") == "build/x"
    assert relative(Path("/elsewhere/x")) == "/elsewhere/x"
    assert relative(Path("build/x")) == "build/x"


def test_a_pass_is_one_line() -> None:
    (line,) = summary(STARTED, RunEnded(outcome="passed", at_s=172.0))
    assert (line.role, line.text) == ("good", "test-in-vm passed in 1 min 12 s; results in /runs/1")


def test_a_failure_says_all_that_is_needed_to_go_on() -> None:
    ended = RunEnded(  # noqa: S604 - the line for a shell, not a call with one
        outcome="test-failed",
        message="the command `make check` ended with status 2",
        details=("ok 1\nnot ok 2",),
        console=("[ 1.0] oops",),
        hint="mend it",
        shell="make test-in-vm VM_DEBUG=1",
        at_s=112.0,
    )
    lines = summary(STARTED, ended)
    assert lines[0].text == "test-in-vm failed after 12 s: the command `make check` ended with status 2"
    assert [line.text for line in lines if line.role == "quote"] == ["ok 1", "not ok 2", "[ 1.0] oops"]
    assert {line.label: line.text for line in lines if line.role == "fact"} == {
        "hint": "mend it",
        "logs": "/runs/1",
        "rerun": "make test-in-vm",
        "shell": "make test-in-vm VM_DEBUG=1",
    }


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_machinery_is_blamed_for_what_it_did_and_for_nothing_else(outcome: Outcome) -> None:
    lines = summary(STARTED, RunEnded(outcome=outcome))
    blamed = any(line.label == "cause" for line in lines)
    assert blamed == outcome.is_infrastructure


def test_an_end_without_a_beginning_or_with_a_strange_outcome_still_says_something() -> None:
    assert summary(None, RunEnded(outcome="strange"))[0].text == "the run ended as strange after 0.0 s"


def test_hostile_evidence_is_harmless_and_bounded() -> None:
    ended = RunEnded(outcome="test-failed", message="\x1b[2J", details=tuple("\x1b[2Jx" for _ in range(9999)))
    lines = summary(STARTED, ended)
    assert len(lines) < 100
    assert not any("\x1b" in line.text for line in lines)
