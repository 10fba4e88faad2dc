from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks import events
from vmtasks.errors import Outcome, TestFailed, outcome_of
from vmtasks.machine import alarm_watch
from vmtasks.machine.alarm_watch import ConsoleAlarms, expect_none, following
from vmtasks.machine.alarms import alarms_in

OOPS = """\
[   57.658354] BUG: unable to handle page fault for address: ffff888058a67000
[   57.659526] Oops: 000b [#3] SMP
"""
STALL = "[  324.072607] INFO: rcu_sched self-detected stall on CPU\n"


@pytest.fixture
def heard() -> Iterator[list[events.Event]]:
    heard: list[events.Event] = []
    with events.listening(heard.append):
        yield heard


@pytest.fixture
def console(tmp_path: Path) -> Path:
    return tmp_path / "console.log"


def add(console: Path, text: str) -> None:
    with console.open("a", encoding="utf-8") as file:
        file.write(text)


def alarms_of(heard: list[events.Event]) -> list[tuple[str, str, str]]:
    return [(one.machine, one.type, one.severity) for one in heard if isinstance(one, events.ConsoleAlarm)]


def test_an_alarm_is_told_while_the_machine_runs(console: Path, heard: list[events.Event]) -> None:
    with following("m", console) as alarms:
        alarms.look()  # there is no log yet
        add(console, f"Booting\n{OOPS}[   59.000000] the next thing\n")
        alarms.look()
        assert alarms_of(heard) == [("m", "oops", "error")]
    assert len(alarms.found) == len(heard) == 1


def test_an_alarm_is_told_where_nothing_follows(
    console: Path, heard: list[events.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm_watch, "_SILENCE_S", 0.0)
    with following("m", console) as alarms:
        add(console, OOPS)
        alarms.look()
        assert heard == []
        alarms.look()
        assert alarms_of(heard) == [("m", "oops", "error")]


def test_the_end_of_the_block_tells_what_is_left_in_a_log_that_is_gone(
    console: Path, heard: list[events.Event]
) -> None:
    with following("m", console) as alarms:
        add(console, "Booting\n")
        alarms.look()
        add(console, OOPS)
        console.unlink()
    assert alarms_of(heard) == [("m", "oops", "error")]


def test_what_another_attempt_has_left_in_the_log_is_not_told_again(console: Path, heard: list[events.Event]) -> None:
    add(console, OOPS)
    with following("m", console):
        add(console, STALL)
    assert alarms_of(heard) == [("m", "rcu-stall", "warning")]


def test_a_console_that_nobody_listens_to_begins_where_the_log_ends(console: Path, heard: list[events.Event]) -> None:
    add(console, OOPS)
    with following("m", console, listens=False) as alarms:
        add(console, OOPS)
        alarms.look()
    assert alarms.from_bytes == len(OOPS)
    assert not heard


def test_a_secret_has_stars(console: Path) -> None:
    with following("m", console) as alarms:
        alarms.secrets = {b"hunter22"}
        add(console, "[    1.000000] BUG: hunter22\n")
    assert alarms.found[0].lines == ("[    1.000000] BUG: ***",)
    assert alarms.found[0].message == "BUG: ***"


def test_a_secret_at_the_end_of_what_is_told_has_stars_too(console: Path) -> None:
    secret = "hunter" + "2" * 5000
    with following("m", console) as alarms:
        alarms.secrets = {secret.encode(), b"hush-hush"}
        for second, text in enumerate(["x" * 280 + secret, "y" * 275 + "hush-hush", secret * 3, "z" * 10_000]):
            add(console, f"[    {second * 5}.000000] BUG: {text}\n")
    told = [line for alarm in alarms.found for line in (*alarm.lines, alarm.message)]
    assert len(told) == 8
    assert max(map(len, told)) == alarm_watch.TOLD_LETTERS
    assert not [line for line in told if "hu" in line or "2" in line]


def test_more_than_enough_is_a_note(console: Path, heard: list[events.Event]) -> None:
    with following("m", console):
        add(console, "".join(f"[{number * 5:5}.000000] BUG: {number}\n" for number in range(50)))
    (note,) = (one.text for one in heard if isinstance(one, events.Note))
    assert note == "there were more alarms of the type bug on the console than are told"


def test_a_listener_that_looks_is_not_waited_for(console: Path) -> None:
    alarms = ConsoleAlarms("m", console)
    add(console, f"{OOPS}[   59.000000] the next thing\n")
    looked = threading.Event()

    def hear(_: events.Event) -> None:
        alarms.look()
        looked.set()

    with events.listening(hear):
        alarms.look()
    assert looked.is_set()
    alarms.close()


def test_a_pipe_in_its_place_is_its_readers(tmp_path: Path, heard: list[events.Event]) -> None:
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with following("m", tmp_path / "log") as alarms:
            (tmp_path / "log").write_text(OOPS)
            alarms.look()
        assert os.read(reader, 1000).decode() == OOPS
    finally:
        os.close(reader)
    assert heard == []


def test_a_directory_in_its_place_is_no_traceback(tmp_path: Path, heard: list[events.Event]) -> None:
    with following("m", tmp_path) as alarms:
        alarms.look()
    assert heard == []


def test_an_error_is_the_projects_failure_and_a_warning_is_none() -> None:
    expect_none("m", alarms_in(STALL))
    with pytest.raises(TestFailed, match=r"the kernel of m reports an error \(oops\): BUG: unable") as failed:
        expect_none("m", alarms_in(STALL + OOPS))
    assert outcome_of(failed.value) is Outcome.FAILED
    assert failed.value.details == tuple(OOPS.splitlines())
