"""Saving a machine and going on from a saved one, as far as that is the supervisor's work: QEMU is the fake one."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fake_qemu import Script
from tests.process.supervised import LIMIT_S, Supervisor
from vmtasks.supervisor.plan import BlankFile, FileCopy, GuestNote, Plan

MakePlan = Callable[..., Plan]
Supervise = Callable[..., Supervisor]


@pytest.fixture
def order(tmp_path: Path) -> dict[str, Any]:
    """Return an order to save a machine, whose files are there."""
    for name in ("disk", "ram", "overlay"):
        (tmp_path / name).write_text(name)
    (tmp_path / "saved").mkdir()
    return {
        "do": "save",
        "id": 1,
        "link": [[str(tmp_path / "disk"), str(tmp_path / "saved" / "disk")]],
        "copy": [[str(tmp_path / "ram"), str(tmp_path / "saved" / "ram")]],
        "prepare": [],
        "state": str(tmp_path / "saved" / "state"),
        "overlay": str(tmp_path / "overlay"),
        "hold": [str(tmp_path / "saved" / "in-use")],
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


def test_a_machine_that_goes_on_finds_its_note_and_its_own_files(
    supervise: Supervise, plan: MakePlan, tmp_path: Path
) -> None:
    (tmp_path / "state").touch()
    (tmp_path / "ram").write_text("memory")
    transfer_disk, ram = tmp_path / "machine" / "transfer", tmp_path / "machine" / "ram"
    ours = plan(
        load=str(tmp_path / "state"),
        blank=(BlankFile(str(transfer_disk), 1 << 30),),
        copy=(FileCopy(str(tmp_path / "ram"), str(ram)),),
        note=GuestNote(str(transfer_disk), 4096, "wake me"),
    )
    before_s = time.time()
    supervise(ours).starts()
    assert transfer_disk.stat().st_size == 1 << 30
    assert ram.read_text() == "memory"
    with transfer_disk.open("rb") as file:
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
    supervise: Supervise, plan: MakePlan, tmp_path: Path, *, script: Script, state: bool, error: str
) -> None:
    if state:
        (tmp_path / "state").touch()
    assert error in supervise(plan(script, load=str(tmp_path / "state"))).hears("exited")["error"]


def test_a_machine_is_written_down_and_goes_on(
    supervise: Supervise, plan: MakePlan, tmp_path: Path, order: dict[str, Any]
) -> None:
    one = supervise(plan())
    one.starts()
    one.send(order)
    assert 0 < one.says("answer")["result"] < LIMIT_S
    assert (tmp_path / "saved" / "disk").samefile(tmp_path / "disk")
    assert (tmp_path / "saved" / "ram").read_text() == "ram"
    assert not is_free(tmp_path / "saved" / "in-use"), "its disk lies over the saved one"
    one.asks("query-status")
    assert one.hears("answer")["result"]["running"]
    one.close()
    one.hears("exited")
    one.process.wait(LIMIT_S)
    assert is_free(tmp_path / "saved" / "in-use")


@pytest.mark.parametrize("trouble", ["the copy", "the migration"])
def test_a_machine_that_cannot_be_written_down_goes_on_all_the_same(
    supervise: Supervise, plan: MakePlan, tmp_path: Path, order: dict[str, Any], trouble: str
) -> None:
    script: Script = {}
    if trouble == "the copy":
        (tmp_path / "saved" / "ram").touch()  # something is there already
    else:
        script = {"migrate": [["event", "MIGRATION", {"status": "failed"}]]}
    one = supervise(plan(script))
    one.starts()
    one.send(order)
    assert ("File exists" if trouble == "the copy" else "failed") in one.says("answer")["error"]
    one.asks("query-status")
    assert one.hears("answer")["result"]["running"]
