"""Freezing a machine and going on from a frozen one, as far as that is the supervisor's work: QEMU is the fake one."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import vmtasks
from vmtasks.deadline import Deadline
from vmtasks.testing.fake_qemu import Script

LIMIT_S = 30.0
PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from vmtasks import supervisor; supervisor.main()"

Plan = Callable[..., dict[str, Any]]


@contextmanager
def supervised(plan: dict[str, Any]) -> Iterator[tuple[Callable[..., None], Callable[[str], dict[str, Any]]]]:
    """Yield what asks a supervisor for something, and what waits until it says something."""
    home = str(Path(vmtasks.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PROGRAM, home], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout

        def ask(**request: object) -> None:
            assert process.stdin
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()

        def hear(event: str) -> dict[str, Any]:
            assert process.stdout
            deadline = Deadline.after(LIMIT_S)
            while not deadline.passed:
                line = process.stdout.readline()
                assert line, f"it ended without {event}"
                said: dict[str, Any] = json.loads(line)
                if said["event"] == event:
                    return said
            raise AssertionError(f"it never said {event}")

        try:
            ask(**plan)
            yield ask, hear
        finally:
            process.stdin.close()
            process.wait(LIMIT_S)


@pytest.fixture
def order(tmp_path: Path) -> dict[str, Any]:
    """Return an order to freeze a machine, whose files are there."""
    for name in ("disk", "ram", "overlay"):
        (tmp_path / name).write_text(name)
    (tmp_path / "frozen").mkdir()
    return {
        "do": "freeze",
        "id": 1,
        "link": [[str(tmp_path / "disk"), str(tmp_path / "frozen" / "disk")]],
        "copy": [[str(tmp_path / "ram"), str(tmp_path / "frozen" / "ram")]],
        "prepare": [],
        "state": str(tmp_path / "frozen" / "state"),
        "overlay": str(tmp_path / "overlay"),
        "hold": [str(tmp_path / "frozen" / "in-use")],
    }


def is_free(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def test_a_machine_that_goes_on_finds_its_note_and_its_own_files(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    (tmp_path / "ram").write_text("memory")
    exchange, ram = tmp_path / "machine" / "exchange", tmp_path / "machine" / "ram"
    ours = plan(
        load=str(tmp_path / "state"),
        blank=[[str(exchange), 1 << 30]],
        copy=[[str(tmp_path / "ram"), str(ram)]],
        note=[str(exchange), 4096, "wake me"],
    )
    before_s = time.time()
    with supervised(ours) as (_, hear):
        hear("started")
        assert exchange.stat().st_size == 1 << 30
        assert ram.read_text() == "memory"
        with exchange.open("rb") as file:
            file.seek(4096)
            words = file.readline().decode().split()
        assert words[:-1] == ["wake", "me"]
        assert before_s < float(words[-1]) < time.time()


@pytest.mark.parametrize(
    ("script", "state", "error"),
    [
        ({"migrate-incoming": [["event", "MIGRATION", {"status": "failed"}]]}, True, "QEMU's migrate-incoming failed"),
        ({}, False, "No such file or directory"),
    ],
)
def test_a_state_that_does_not_serve_is_said(
    plan: Plan, tmp_path: Path, script: Script, state: bool, error: str
) -> None:
    if state:
        (tmp_path / "state").touch()
    with supervised(plan(script, load=str(tmp_path / "state"))) as (_, hear):
        assert error in hear("gone")["error"]


def test_a_machine_is_written_down_and_goes_on(plan: Plan, tmp_path: Path, order: dict[str, Any]) -> None:
    with supervised(plan()) as (ask, hear):
        hear("started")
        ask(**order)
        assert 0 < hear("answer")["result"] < LIMIT_S
        assert (tmp_path / "frozen" / "disk").samefile(tmp_path / "disk")
        assert (tmp_path / "frozen" / "ram").read_text() == "ram"
        assert not is_free(tmp_path / "frozen" / "in-use"), "its disk lies over the frozen one"
        ask(do="qmp", id=2, execute="query-status", arguments={})
        assert hear("answer")["result"]["running"]
    assert is_free(tmp_path / "frozen" / "in-use")


@pytest.mark.parametrize("trouble", ["the copy", "the migration"])
def test_a_machine_that_cannot_be_written_down_goes_on_all_the_same(
    plan: Plan, tmp_path: Path, order: dict[str, Any], trouble: str
) -> None:
    script: Script = {}
    if trouble == "the copy":
        (tmp_path / "frozen" / "ram").touch()  # something is there already
    else:
        script = {"migrate": [["event", "MIGRATION", {"status": "failed"}]]}
    with supervised(plan(script)) as (ask, hear):
        hear("started")
        ask(**order)
        assert ("File exists" if trouble == "the copy" else "failed") in hear("answer")["error"]
        ask(do="qmp", id=2, execute="query-status", arguments={})
        assert hear("answer")["result"]["running"]
