from __future__ import annotations

import json
import time
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from vmtasks import events as e
from vmtasks.errors import HostError, Outcome
from vmtasks.files import durable
from vmtasks.report.files.document import document, put
from vmtasks.report.files.result import ResultFile, RunResult, fold
from vmtasks.report.files.rows import NAMES_BEFORE

AT_S = 1_700_000_000.0
STARTED = e.RunStarted(recipe="build-deb", directory=Path("/runs/1"), rerun="inv build-deb", at_s=AT_S)


def fed(*events: e.Event) -> Any:
    record = ResultFile(Path("result.json"))
    for event in events:
        record.hear(event)
    return json.loads(record.text())


def on_disk(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def without_old_names(document: Any) -> Any:
    """Return a document without what is there until 0.2 alone."""
    if isinstance(document, list):
        return [without_old_names(one) for one in document]
    if not isinstance(document, dict):
        return document
    old = {NAMES_BEFORE[name] for name in document if name in NAMES_BEFORE}
    old |= {"status"} if "exit_code" in document else set()
    return {name: without_old_names(value) for name, value in document.items() if name not in old}


def test_a_whole_run() -> None:
    result = fed(
        STARTED,
        e.PhaseStarted(machine="m", phase="boot", detail="attempt 1"),
        e.PhaseEnded(machine="m", phase="boot", detail="attempt 1", duration_s=9.4321),
        e.MachineStarted(
            machine="m",
            image="bookworm",
            image_key="abc",
            manifest=MappingProxyType({"packages": {"gcc": "12"}, "file": Path("/x")}),
            argv=("qemu", "-m"),
            accelerator="tcg",
            accelerator_reason="no KVM",
            host="local",
            start="clone",
            start_reason="from a template",
            ssh="ssh",
            console=Path("/runs/1/console.log"),
        ),
        e.CaseStarted(case="smoke"),
        e.CommandStarted(machine="m", command="make", log=Path("/runs/1/make.log")),
        e.CommandEnded(machine="m", command="make", exit_code=2, duration_s=1, log=Path("/runs/1/make.log")),
        e.CaseEnded(case="smoke", outcome="test-failed", duration_s=1, message="no"),
        e.GroupCall(
            machine="m",
            verb="wait-all",
            id="up",
            role="client",
            outcome="failed",
            waited_for=("client1",),
            duration_s=5.0,
            error="client1 is gone",
        ),
        e.Artifact(path=Path("/runs/1/x.deb")),
        e.Note(text="look", level="warning"),
        e.RunEnded(outcome="test-failed", message="it said no", details=("a\nb",), hint="mend", at_s=AT_S + 12.5),
    )
    assert list(result)[: len(RunResult.__dataclass_fields__)] == list(RunResult.__dataclass_fields__)
    assert without_old_names(result) == {
        "schema": 2,
        "recipe": "build-deb",
        "outcome": "test-failed",
        "exit_code": 1,
        "message": "it said no",
        "details": ["a", "b"],
        "hint": "mend",
        "started": "2023-11-14T22:13:20.000+00:00",
        "ended": "2023-11-14T22:13:32.500+00:00",
        "duration_s": 12.5,
        "rerun": "inv build-deb",
        "directory": "/runs/1",
        "phases": [{"phase": "boot", "machine": "m", "detail": "attempt 1", "duration_s": 9.432, "error": ""}],
        "commands": [{"machine": "m", "command": "make", "exit_code": 2, "duration_s": 1, "log": "/runs/1/make.log"}],
        "machines": [
            {
                "machine": "m",
                "image": "bookworm",
                "image_key": "abc",
                "manifest": {"packages": {"gcc": "12"}, "file": "/x"},
                "argv": ["qemu", "-m"],
                "accelerator": "tcg",
                "accelerator_reason": "no KVM",
                "start": "clone",
                "start_reason": "from a template",
                "host": "local",
                "attempt": 1,
                "console": "/runs/1/console.log",
            }
        ],
        "alarms": [],
        "frozen": [],
        "cases": [
            {
                "case": "smoke",
                "outcome": "test-failed",
                "duration_s": 1,
                "message": "no",
                "machine": "",
                "definition": "",
                "measurement": "",
                "units": "",
            }
        ],
        "messages": [
            {
                "machine": "m",
                "verb": "wait-all",
                "id": "up",
                "role": "client",
                "outcome": "failed",
                "waited_for": ["client1"],
                "duration_s": 5.0,
                "error": "client1 is gone",
            }
        ],
        "runs": [],
        "profiles": [],
        "artifacts": ["/runs/1/x.deb"],
        "notes": [{"level": "warning", "text": "look"}],
    }


def test_what_was_renamed_has_its_old_key_as_well() -> None:
    result = fed(
        e.CaseEnded(case="smoke", outcome="test-failed", duration_s=1, message="no"),
        e.CommandEnded(machine="m", command="make", exit_code=2, duration_s=1),
        e.RunEnded(outcome="test-failed", message="it said no", details=("a",)),
    )
    assert result["sentence"] == result["message"] == "it said no"
    assert result["evidence"] == result["details"] == ["a"]
    assert result["cases"][0]["sentence"] == "no"
    assert result["commands"][0]["status"] == 2


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_its_exit_code(outcome: Outcome) -> None:
    result = fed(STARTED, e.RunEnded(outcome=outcome))
    assert (result["outcome"], result["exit_code"]) == (str(outcome), outcome.exit_code)


def test_an_outcome_that_nobody_knows_is_no_pass() -> None:
    assert fed(e.RunEnded(outcome="strange"))["exit_code"] == Outcome.INTERNAL.exit_code


def test_the_fold_leaves_what_it_is_given_alone() -> None:
    before = RunResult()
    assert fold(before, STARTED) != before
    assert before == RunResult()


def test_output_leaves_no_trace() -> None:
    begun = reduce(fold, [STARTED], RunResult())
    assert fold(begun, e.Output(stream="stdout", text="x")) is begun


def test_an_end_closes_the_beginning_that_it_belongs_to() -> None:
    begin = e.CommandStarted(machine="a", command="make")
    other = e.CommandStarted(machine="b", command="make")
    result = fed(begin, other, e.CommandEnded(machine="a", command="make", exit_code=0, duration_s=1))
    assert [(row["machine"], row["duration_s"]) for row in result["commands"]] == [("a", 1), ("b", None)]


def test_an_end_without_a_beginning_is_not_lost() -> None:
    assert fed(e.PhaseEnded(phase="boot", duration_s=1))["phases"][0]["duration_s"] == 1


def test_a_killed_run_leaves_the_truth(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with document(ResultFile(path)):
        assert on_disk(path)["outcome"] == "running"
        e.emit(STARTED)
        assert (on_disk(path)["recipe"], on_disk(path)["ended"]) == ("build-deb", None)
        with e.phase("bake"):
            pass
        assert on_disk(path)["phases"][0]["duration_s"] is not None
        e.emit(e.CommandStarted(command="make check", at_s=time.time() + 5))
        killed = on_disk(path)
        assert (killed["outcome"], killed["exit_code"], killed["duration_s"]) == ("running", None, None)
        assert without_old_names(killed["commands"][0]) == {
            "machine": "",
            "command": "make check",
            "exit_code": None,
            "duration_s": None,
            "log": None,
        }
        e.emit(e.CaseEnded(case="smoke", outcome="passed", duration_s=1))
        assert on_disk(path)["cases"][0]["outcome"] == "passed"
        e.emit(e.RunEnded(outcome="passed"))
        assert on_disk(path)["outcome"] == "passed"


def test_only_what_a_run_ended_with_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(durable, "sync", lambda path: synced.append(json.loads(path.read_text())["outcome"]))
    with document(ResultFile(tmp_path / "result.json")):
        e.emit(STARTED)
        with e.phase("bake"):
            pass
        assert synced == []
        e.emit(e.RunEnded(outcome="passed"))
    assert synced == ["passed"]


def test_what_comes_often_is_not_always_worth_a_write() -> None:
    record = ResultFile(Path("result.json"))
    assert record.hear(STARTED)
    polls = [e.CommandStarted(command="test -e x", at_s=AT_S + i / 1000) for i in range(500)]
    assert not any(record.hear(poll) for poll in polls)
    assert not record.hear(e.Output(stream="stdout", text="x", at_s=AT_S + 100))
    assert record.hear(e.CommandStarted(command="make", at_s=AT_S + 100))


def test_the_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    put(path, "old")

    def killed(source: Path, target: Path) -> None:
        assert source.read_text(encoding="utf-8") == "new"
        assert target.read_text(encoding="utf-8") == "old"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            put(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    put(path, "newer")
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]
    put(path, None)
    assert not path.exists()


def test_a_directory_that_cannot_be_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(HostError, match=r"cannot write .*result.json: (File exists|Not a directory)"),
        document(ResultFile(tmp_path / "file" / "result.json")),
    ):
        pytest.fail("the run began")


def test_a_disk_that_fills_up_is_a_warning_and_an_error_at_the_end(tmp_path: Path) -> None:
    heard: list[e.Event] = []
    directory = tmp_path / "run"

    def run() -> None:
        with document(ResultFile(directory / "result.json")), e.listening(heard.append):
            (directory / "result.json").unlink()
            directory.rmdir()
            directory.touch()
            e.emit(STARTED)
            e.emit(e.RunEnded(outcome="passed"))

    with pytest.raises(HostError, match="cannot write"):
        run()
    warnings = [event.text for event in heard if isinstance(event, e.Note)]
    assert len(warnings) == 1
    assert heard[-1] == next(event for event in heard if isinstance(event, e.RunEnded))


def test_hostile_text_is_valid_json_without_escapes_for_a_terminal() -> None:
    record = ResultFile(Path("result.json"))
    record.hear(e.RunEnded(outcome="host", message="\x1b[2J\udc80\x00", details=("\x1b[31mred",)))
    record.hear(e.Artifact(path=Path("caf\udce9.deb")))
    text = record.text().encode("utf-8", "replace").decode("utf-8")
    assert json.loads(text)["message"] == "�␀"
    assert json.loads(text)["details"] == ["red"]


def test_cases_of_one_name_are_rows_of_their_own() -> None:
    here, there = (e.CaseStarted(case="a", machine=machine, definition="0_x") for machine in ("m", "n"))
    ended = e.CaseEnded(case="a", machine="m", definition="0_x", outcome="passed", duration_s=1, measurement="1.50")
    rows = fed(STARTED, here, there, ended, ended)["cases"]
    assert [(row["machine"], row["outcome"], row["measurement"]) for row in rows] == [
        ("m", "passed", "1.50"),
        ("n", "running", ""),
        ("m", "passed", "1.50"),
    ]


def test_the_cases_of_a_definition_are_written_once_a_second() -> None:
    record = ResultFile(Path("result.json"))
    case = e.CaseEnded(case="a", definition="0_x", outcome="passed", duration_s=1, at_s=AT_S + 0.5)
    heard = [STARTED, case, e.CaseEnded(case="b", outcome="passed", duration_s=1, at_s=AT_S + 0.6)]
    assert [record.hear(event) for event in heard] == [True, False, True]
    assert record.hear(e.CaseEnded(case="a", definition="0_x", outcome="passed", duration_s=1, at_s=AT_S + 2))


def test_what_a_kernel_reports_has_its_lines_and_nothing_for_a_terminal() -> None:
    alarm = e.ConsoleAlarm(
        machine="m",
        type="oops",
        severity="error",
        message="BUG: \x1b[31mx",
        lines=("[  1.0] BUG: \x1b[31mx\x07", "RIP"),
    )
    result = fed(STARTED, alarm, e.RunEnded(outcome=Outcome.PASSED))
    assert result["alarms"] == [
        {
            "machine": "m",
            "type": "oops",
            "severity": "error",
            "message": "BUG: x",
            "lines": ["[  1.0] BUG: x\u2407", "RIP"],
        }
    ]
    assert result["outcome"] == "passed"


def test_what_was_frozen_is_written_down_or_why_nothing_was() -> None:
    frozen = e.MachineFrozen(machine="m", host="alice@big", snapshot="0123456789abcdef-1")
    refused = e.MachineFrozen(machine="n", reason="cannot freeze n:\x1b[31m no room")
    assert fed(STARTED, frozen, refused)["frozen"] == [
        {"machine": "m", "host": "alice@big", "snapshot": "0123456789abcdef-1", "reason": ""},
        {"machine": "n", "host": "", "snapshot": "", "reason": "cannot freeze n: no room"},
    ]


def test_alarms_without_end_are_bounded() -> None:
    alarm = e.ConsoleAlarm(machine="m", type="bug", severity="error", message="BUG: x", lines=())
    assert len(fed(STARTED, *[alarm] * 1100)["alarms"]) == 1000


def test_a_profile_is_a_row_in_which_null_is_what_was_not_counted() -> None:
    result = fed(
        STARTED,
        e.Profiled(
            machine="m",
            duration_s=2.5,
            cpu_s=1.25,
            threads={"CPU 0/TCG": 1.0, "qemu-system-x86": 0.25},
            faults={"minor": 3, "major": 0},
            memory={"resident_peak_bytes": 4096, "pss_bytes": None},
            block={"disk": {"read_bytes": 0}},
            perf={"cycles": None},
            cost_s=0.01,
            not_supported={"kvm": "emulated"},
            files=(Path("/runs/1/m-profile.svg"),),
        ),
    )
    assert result["profiles"] == [
        {
            "machine": "m",
            "duration_s": 2.5,
            "cpu_s": 1.25,
            "threads": {"CPU 0/TCG": 1.0, "qemu-system-x86": 0.25},
            "faults": {"minor": 3, "major": 0},
            "memory": {"resident_peak_bytes": 4096, "pss_bytes": None},
            "storage": None,
            "block": {"disk": {"read_bytes": 0}},
            "network": None,
            "kvm": None,
            "perf": {"cycles": None},
            "cost_s": 0.01,
            "not_supported": {"kvm": "emulated"},
            "files": ["/runs/1/m-profile.svg"],
        }
    ]
