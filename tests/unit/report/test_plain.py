from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vmtasks import events as e
from vmtasks.report.display.plain import Plain
from vmtasks.report.display.stream import SafeStream

AT_S = time.mktime((2025, 1, 2, 12, 3, 4, 0, 0, -1))


def shown(*events: e.Event) -> list[str]:
    stream = io.StringIO()
    plain = Plain(SafeStream(stream))
    for event in events:
        plain(event)
    return stream.getvalue().splitlines()


def out(text: str, machine: str = "bookworm") -> e.Output:
    return e.Output(machine=machine, stream="stdout", text=text, at_s=AT_S)


def ended(command: str = "make", status: int | None = 0) -> e.CommandEnded:
    return e.CommandEnded(machine="bookworm", command=command, exit_code=status, duration_s=1.2, at_s=AT_S)


def test_every_line_of_output_has_the_time_and_the_machine() -> None:
    assert shown(out("one\ntwo\n")) == ["12:03:04 bookworm  | one", "12:03:04 bookworm  | two"]


def test_an_empty_line_stays_one() -> None:
    assert shown(out("one\n\ntwo\n"))[1].endswith("| ")


def test_only_whole_lines_and_the_rest_when_the_command_ends() -> None:
    lines = shown(out("on"), out("e\ntw"), ended())
    assert lines == [
        "12:03:04 bookworm  | one",
        "12:03:04 bookworm  | tw",
        "12:03:04 bookworm  * make: status 0 after 1.2 s",
    ]


def test_lines_of_two_machines_do_not_mix() -> None:
    lines = shown(out("left ", "a"), out("right ", "b"), out("hand\n", "a"), out("side\n", "b"))
    assert lines == ["12:03:04 a  | left hand", "12:03:04 b  | right side"]


def test_a_status_that_was_never_learned() -> None:
    assert shown(ended(status=None))[0].endswith("* make: status unknown after 1.2 s")


def test_a_phase_is_announced_and_ends_with_its_duration() -> None:
    lines = shown(
        e.PhaseStarted(machine="bookworm", phase="boot", detail="attempt 1", at_s=AT_S),
        e.PhaseEnded(machine="bookworm", phase="boot", detail="attempt 1", duration_s=9.4, at_s=AT_S),
        e.PhaseEnded(phase="bake", duration_s=3, error="no network\nat all", at_s=AT_S),
    )
    assert lines == [
        "12:03:04 bookworm  * boot (attempt 1)",
        "12:03:04 bookworm  * boot (attempt 1): done in 9.4 s",
        "12:03:04           * bake: failed after 3.0 s: no network …",
    ]


def progress(at_s: float, done: int, total: int = 100) -> e.Progress:
    return e.Progress(phase="bake", done=done, total=total, at_s=AT_S + at_s)


def test_progress_is_rare() -> None:
    fast = [progress(i / 100, i) for i in range(101)]
    slow = [progress(60 * i, i) for i in range(1, 4)]
    steady = [progress(i, i) for i in range(101)]
    begin = e.PhaseStarted(phase="bake", at_s=AT_S)
    assert shown(begin, *fast) == ["12:03:04 * bake"]
    assert len(shown(begin, *slow)) == 1 + 3
    assert [line.split("* ")[1] for line in shown(begin, *steady)][1:3] == [
        "bake: 10%, 10 of 100",
        "bake: 20%, 20 of 100",
    ]
    assert len(shown(begin, *steady)) == 1 + 10
    assert len(shown(begin, *(progress(i, i, 0) for i in range(101)))) == 1 + 10


def test_silence_is_a_sign_of_life_and_shows_what_has_no_end_yet() -> None:
    silent = e.Heartbeat(machine="bookworm", command="make", silent_s=60, at_s=AT_S)
    assert shown(out("Continue? [y/n] "), silent) == [
        "12:03:04 bookworm  | Continue? [y/n] ",
        "12:03:04 bookworm  * make: nothing printed for 1 min 0 s",
    ]


def test_a_guest_cannot_put_words_into_our_mouth() -> None:
    lines = shown(out("\x1b[1A\x1b[2K12:03:04 bookworm  * make check: status 0\r\x9b2J\n"))
    assert all(line.startswith("12:03:04 bookworm  | ") for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "\x9b" not in "".join(lines)


@pytest.mark.parametrize("outcome", ["test-failed", "passed"])
def test_the_end_of_a_run(outcome: str) -> None:
    lines = shown(
        e.RunStarted(recipe="tarbake", directory=Path("/runs/1"), rerun="inv tarbake", at_s=AT_S),
        out("no end"),
        e.RunEnded(outcome=outcome, message="it broke", details=("x",), at_s=AT_S + 1),
    )
    assert lines[0] == "12:03:04 * tarbake began; logs and results go to /runs/1"
    assert lines[1].endswith("| no end")
    if outcome == "passed":
        assert lines[2:] == ["tarbake passed in 1.0 s; results in /runs/1"]
    else:
        assert lines[2:6] == ["", "tarbake failed after 1.0 s: it broke", "", "  The last lines of its output:"]
        assert lines[-2:] == ["  logs:    /runs/1", "  rerun:   inv tarbake"]


def test_everything_else_is_a_line_too() -> None:
    machine = e.MachineStarted(
        machine="m",
        image="bookworm",
        image_key="0123456789abcdef",
        manifest={},
        argv=(),
        accelerator="tcg",
        accelerator_reason="no KVM",
        host="local",
        start="clone",
        start_reason="of a template",
        ssh="ssh -p 1 root@localhost",
        at_s=AT_S,
    )
    lines = shown(
        machine,
        replace(machine, host="alice@big"),
        e.CommandStarted(machine="m", command="set -e\nmake", at_s=AT_S),
        e.CaseStarted(machine="m", case="smoke", at_s=AT_S),
        e.CaseEnded(machine="m", case="smoke", outcome="test-failed", duration_s=1, message="no", at_s=AT_S),
        e.Note(machine="m", text="look\x07", level="warning", at_s=AT_S),
    )
    assert [line.removeprefix("12:03:04 m  ") for line in lines] == [
        "* bookworm (0123456789ab) is ready (clone of a template; tcg, no KVM)",
        "* a shell while it lives: ssh -p 1 root@localhost",
        "* bookworm (0123456789ab) is ready on alice@big (clone of a template; tcg, no KVM)",
        "* a shell while it lives: ssh -p 1 root@localhost",
        "$ set -e …",
        "* case smoke",
        "* case smoke: test-failed after 1.0 s: no",
        "* warning: look␇",
    ]


def test_what_a_kernel_reports_is_one_line_and_memory_has_a_note_of_its_own() -> None:
    oops = e.ConsoleAlarm(machine="m", type="oops", severity="error", message="BUG: x", lines=("a", "b"), at_s=AT_S)
    memory = replace(oops, type="oom", message="Out of memory: Killed process 1 (sh)")
    (line,) = shown(oops, memory)
    assert line.endswith("m  * warning: its kernel reports (oops): BUG: x")
    (line,) = shown(replace(memory, message="Memory cgroup out of memory: Killed process 1 (sh)"))
    assert line.endswith("its kernel reports (oom): Memory cgroup out of memory: Killed process 1 (sh)")
