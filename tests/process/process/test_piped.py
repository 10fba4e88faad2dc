"""A process whose lines are read while it runs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.waiting import until
from vmtasks.process.piped import PipedProcess, signal_name

Start = Callable[..., PipedProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(line: str, **env: str) -> PipedProcess:
            process = PipedProcess(["/bin/sh", "-c", line], env=env, log=tmp_path / "log")
            stack.callback(process.close)
            return process

        yield begin


def all_of(process: PipedProcess) -> list[str]:
    lines: list[str] = []

    def has_ended() -> bool:
        lines.extend(process.lines())
        return not process.is_open and process.status is not None

    until("end", has_ended)
    return lines


def test_lines_come_whole_and_the_last_one_without_its_end(start: Start, tmp_path: Path) -> None:
    process = start('printf "one\\n\\n\\377 two\\nrest"; echo "$WORD" >&2; exit 3', WORD="aside")
    assert all_of(process) == ["one", "", "\udcff two", "rest"]
    assert process.status == 3
    assert (tmp_path / "log").read_text() == "aside\n"


def test_half_a_line_waits_for_its_end(start: Start, tmp_path: Path) -> None:
    process = start(f"printf half; until [ -e {tmp_path}/go ]; do sleep 0.1; done; echo ' and half'")
    until("half a line", lambda: process.lines() or process._rest == b"half")
    (tmp_path / "go").touch()
    assert all_of(process) == ["half and half"]


def test_it_reads_nothing_and_a_hangup_is_for_it_also_under_nohup(start: Start) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start("cat; kill -HUP $$; echo it is deaf")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert all_of(process) == []
    assert process.status == -signal.SIGHUP


def test_it_ends_when_asked_also_where_it_was_stopped(start: Start) -> None:
    process = start("trap 'echo bye; exit 4' TERM; echo up; kill -STOP $$; while :; do sleep 0.1; done")
    until("process that is up", process.lines)
    process.end()
    assert all_of(process) == ["bye"]
    assert process.status == 4
    process.end()


def test_one_that_does_not_end_is_killed_and_no_longer_read(start: Start) -> None:
    process = start("trap '' TERM; echo up; while :; do sleep 0.1; done")
    until("process that is up", process.lines)
    process.end()
    process.close()
    assert process.status == -signal.SIGKILL
    assert not process.is_open
    assert process.lines() == []


@pytest.mark.parametrize(("status", "name"), [(-9, "SIGKILL"), (-15, "SIGTERM"), (-40, "signal 40")])
def test_a_status_names_its_signal(status: int, name: str) -> None:
    assert signal_name(status) == name
