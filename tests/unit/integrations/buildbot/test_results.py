"""What a Buildbot is told of a run."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from vmtasks import events as e
from vmtasks.errors import Outcome
from vmtasks.integrations.buildbot.results import build_result, by_hand, cut_short, read
from vmtasks.report.display.plain import Plain, shown
from vmtasks.report.files.result import ResultFile


def document(**fields: Any) -> dict[str, Any]:
    return {
        "schema": 2,
        "recipe": "test-in-vm",
        "outcome": "passed",
        "message": "",
        "duration_s": 89.4,
        "phases": [{"machine": "test", "phase": "boot", "duration_s": 9.0, "error": ""}],
        "commands": [],
        "artifacts": ["/b/a.tar.gz"],
        **fields,
    }


@pytest.mark.parametrize(
    ("outcome", "results"),
    [
        ("passed", "success"),
        ("test-failed", "failure"),
        ("usage", "failure"),
        ("timeout", "failure"),
        ("host", "retry"),
        ("boot", "retry"),
        ("connection-lost", "retry"),
        ("internal-error", "retry"),
        ("running", "retry"),
        ("interrupted", "cancelled"),
        ("of a version to come", "exception"),
    ],
)
def test_each_outcome_has_its_result(outcome: str, results: str) -> None:
    assert build_result(document(outcome=outcome), retries=0, max_retries=1).results == results


def test_no_outcome_is_forgotten() -> None:
    results = {
        outcome: build_result(document(outcome=outcome), retries=0, max_retries=1).results for outcome in Outcome
    }
    assert "exception" not in results.values()


def test_a_pass_is_told_with_its_times_and_products() -> None:
    verdict = build_result(document(), retries=0, max_retries=2)
    assert verdict.message == "test-in-vm passed in 1 min 29 s"
    assert verdict.times == "boot 9.0 s"
    assert verdict.artifacts == ("/b/a.tar.gz",)


def test_a_run_that_passed_is_not_all_that_make_did() -> None:
    verdict = build_result(document(), retries=0, max_retries=2, status=2)
    assert verdict.results == "failure"
    assert verdict.message == "test-in-vm passed in 1 min 29 s, and make ended with status 2 after that"
    failed = document(outcome="test-failed", message="no")
    assert build_result(failed, retries=0, max_retries=2, status=2).message == "test-in-vm: no"


def test_retries_are_counted_and_then_given_up() -> None:
    lost = document(outcome="boot", message="cannot boot test: it is silent\nand dark")
    told = [build_result(lost, retries=retries, max_retries=2) for retries in range(3)]
    assert [one.results for one in told] == ["retry", "retry", "exception"]
    assert [one.message for one in told] == [
        "test-in-vm: cannot boot test: it is silent … (attempt 1 of 3)",
        "test-in-vm: cannot boot test: it is silent … (attempt 2 of 3)",
        "test-in-vm: cannot boot test: it is silent … (attempt 3 of 3)",
    ]
    assert build_result(lost, retries=0, max_retries=0).results == "exception"


WAITED = {"machine": "test", "phase": "slot", "duration_s": 7200.0, "error": "SIGTERM"}


@pytest.mark.parametrize(
    ("fields", "results"),
    [
        ({"phases": [WAITED]}, "retry"),
        ({"phases": [WAITED | {"duration_s": None, "error": ""}]}, "retry"),  # it was killed
        ({"phases": [WAITED | {"error": ""}]}, "failure"),  # it had its slot
        ({"phases": [WAITED, WAITED | {"phase": "boot"}]}, "failure"),
        ({"phases": [WAITED], "commands": [{"command": "make", "exit_code": None, "duration_s": 1.0}]}, "failure"),
        ({"phases": []}, "failure"),
    ],
)
def test_a_limit_of_the_step_is_no_failure_of_a_run_that_waited_for_a_slot(fields: Any, results: str) -> None:
    cut = cut_short(document(outcome="interrupted", **fields))
    verdict = build_result(cut | {"phases": [], "commands": []}, retries=0, max_retries=1)
    assert verdict.results == results
    assert ("no slot was free within the step's limit" in verdict.message) == (results == "retry")


def test_a_run_that_was_killed_says_so() -> None:
    assert build_result(document(outcome="running"), retries=0, max_retries=0).message == (
        "test-in-vm: was killed before it could say how it ended (attempt 1 of 1)"
    )


def test_what_a_run_writes_is_read(tmp_path: Any) -> None:
    record = ResultFile(tmp_path / "result.json")
    record.hear(e.RunStarted(recipe="tarbake", directory=tmp_path, rerun="inv tarbake"))
    record.hear(e.RunEnded(outcome="passed"))
    written = read(record.text())
    assert written
    assert build_result(written, retries=0, max_retries=0).message == "tarbake passed in 0.0 s"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", json.dumps({"schema": 3}), '{"outcome": "passed"}'])
def test_no_other_document_is_read(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("10:44:06 test  * boot (bookworm): done in 9.4 s", "test: boot (bookworm): done in 9.4 s"),
        ("10:44:07 test  $ make check", "test: make check"),
        ("10:44:12       * case test: passed after 6.5 s", "case test: passed after 6.5 s"),
        ("10:44:12 * test-in-vm began", "test-in-vm began"),
        ("10:44:12 * * is a line", "* is a line"),
        ("10:44:07 test  | cc -o parrot parrot.c", ""),
        ("10:44:07 test  | 10:44:07 test  * passed", ""),
        ("vmtasks: making .venv", ""),
        ("", ""),
    ],
)
def test_what_the_run_says_is_told_from_what_a_guest_prints(line: str, text: str) -> None:
    assert shown(line) == text


def test_a_document_of_ours_is_read() -> None:
    command = {"machine": "test", "command": "make check", "exit_code": None, "duration_s": None}
    whole = document(duration_s=None, commands=[command])
    assert read(json.dumps(whole)) == whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        json.dumps(document(artifacts=[7])),
        json.dumps(document(artifacts={"a": 1})),
        json.dumps(document(message=None)),
        json.dumps(document(outcome=["passed"])),
        json.dumps(document(duration_s="long")),
        json.dumps(document(duration_s=float("nan"))),
        json.dumps(document(duration_s=float("inf"))),
        json.dumps(document(phases=[{}])),
        json.dumps(document(phases=["boot"])),
        json.dumps(document(phases=[{"machine": "m", "phase": "boot", "duration_s": -1, "error": ""}])),
        json.dumps(document(commands=[{"machine": "m", "command": "c", "duration_s": 1.0}])),
        json.dumps({"schema": 2}),
    ],
)
def test_a_document_that_is_damaged_or_forged_is_none(text: str) -> None:
    assert read(text) is None


def test_what_a_developer_types_has_no_path_of_the_worker() -> None:
    text = by_hand(
        "test-in-vm",
        {"PROJECT": "/w/big/hello/build", "OUT": "/w/big/hello/build/out", "X": "/w/big/hello/building", "A": "b c"},
        builddir="/w/big/hello",
        revision="0123abc",
        repository="https://example.org/parrot.git",
    )
    where, line = text.splitlines()
    assert line == "make test-in-vm PROJECT=../parrot OUT=../parrot/out X=/w/big/hello/building 'A=b c'"
    assert "with https://example.org/parrot.git in ../parrot, at commit 0123abc" in where


def test_what_a_developer_types_does_without_a_repository_or_a_commit() -> None:
    text = by_hand("test-in-vm", {"PROJECT": "/w/b/build"}, builddir="/w/b", revision="", repository="")
    assert text.endswith("make test-in-vm PROJECT=../project\n")
    assert "with the project in ../project, as it was built" in text


def test_the_command_line_of_a_shell_is_no_news() -> None:
    assert shown("10:44:06 test  * a shell while it lives: ssh -F none -i /cache/key -p 1 root@127.0.0.1") == ""


def test_a_wait_for_a_slot_is_news_each_minute() -> None:
    lines: list[str] = []
    display = Plain(SimpleNamespace(write=lines.append))  # type: ignore[arg-type] - it only writes
    for waited_s in (60, 120):
        display(
            e.Progress(
                at_s=waited_s, machine="test", phase="slot", done=waited_s, unit="seconds", detail="behind alice"
            )
        )
    assert [shown(line.rstrip()) for line in lines] == ["test: slot: 2 min 0 s (behind alice)"]
