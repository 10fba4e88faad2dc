"""Where the time went."""

from __future__ import annotations

import json
from pathlib import Path

from vmtasks import events as e
from vmtasks.report.timings import Times, history


def told(*ended: tuple[str, str, float]) -> Times:
    times = Times()
    for machine, phase, duration_s in ended:
        times(e.PhaseEnded(machine=machine, phase=phase, duration_s=duration_s))
    return times


def test_machines_add_up_in_the_order_of_a_life() -> None:
    times = told(("a", "stop", 0.1), ("a", "slot", 1.0), ("b", "checkpoint", 0.2), ("b", "slot", 2.0))
    assert times.names() == ["slot", "stop", "checkpoint"]
    assert times.text() == "slot 3.0 s, stop 0.1 s, checkpoint 0.2 s"


def test_what_a_template_is_made_of_is_told_once() -> None:
    assert told(("m-template", "boot", 10.0), ("m", "template", 12.0)).text() == "template 12 s"


def test_a_slot_that_is_waited_for_is_no_work_on_the_template() -> None:
    waits = ("m-template", "slot", 240.0)
    assert told(waits, ("m", "template", 251.0), ("m", "slot", 1.0)).text() == "slot 4 min 1 s, template 11 s"
    assert told(waits).text() == "slot 4 min 0 s", "the template is still being made"


def test_the_longest_command_is_named() -> None:
    times = Times()
    for command, duration_s in (("make", 2.0), ("make check\nand more", 30.0), ("true", 0.1)):
        times(e.CommandEnded(machine="m", command=command, exit_code=0, duration_s=duration_s))
    assert times.text() == "commands 32 s, the longest command 30 s: make check …"
    assert Times().text() == ""


def test_runs_that_were_written_down_are_found_again(tmp_path: Path) -> None:
    phase = {"phase": "ssh", "machine": "m", "duration_s": 0.5}
    for name, recipe, started in (("new", "tarbake", "2026-02-02"), ("old", "tarbake", "2026-01-01"), ("x", "o", "2")):
        (tmp_path / name).mkdir()
        document = {"schema": 2, "recipe": recipe, "outcome": "passed", "started": started, "duration_s": 1.0}
        document |= {"phases": [phase], "commands": []}
        (tmp_path / name / "result.json").write_text(json.dumps(document))
    (tmp_path / "latest").symlink_to("new")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_text("{")
    runs = history(tmp_path, "tarbake", 5)
    assert [run["started"] for run in runs] == ["2026-01-01", "2026-02-02"]
    assert [run["started"] for run in history(tmp_path, "tarbake", 1)] == ["2026-02-02"]
    assert len(history(tmp_path, "", 5)) == 3
    assert Times.of(runs[0]).seconds == {"ssh": 0.5}
    assert history(tmp_path / "nowhere", "", 5) == []
