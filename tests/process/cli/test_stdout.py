"""Whoever reads what a command prints may go away, or have no room: the command ends in few words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

BUFFERED = [
    "inv --list", "inv images.list", "inv images.show bookworm", "inv vm.ps", "inv vm.times", "inv vm.gc",
    "inv images.prune", "inv doctor", "inv --help test-in-vm", "runvm --help", "runvm", "vmtasks --help",
    "vmtasks doctor", "vmtasks help recipes",
]  # fmt: skip
UNBUFFERED = ["inv --list", "inv images.show bookworm", "runvm --help"]


@pytest.mark.parametrize(
    ("command", "buffered"), [*((one, True) for one in BUFFERED), *((one, False) for one in UNBUFFERED)]
)
def test_a_command_ends_quietly_with_whoever_reads_it(command: str, buffered: bool, tmp_path: Path) -> None:
    program, *words = command.split()
    argv = [str(Path(sys.executable).with_name(program)), *words]
    environ = {**os.environ, "VMTASKS_CACHE": str(tmp_path), "VMTASKS_ACCEL": "tcg", "PYTHONUNBUFFERED": "1"}
    if buffered:
        del environ["PYTHONUNBUFFERED"]

    def call(stdout: int) -> tuple[int, str]:
        done = subprocess.run(
            argv, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    ours, theirs = os.pipe()
    os.close(ours)
    try:
        status, output = call(theirs)
    finally:
        os.close(theirs)
    assert status == 141, output
    assert "Traceback" not in output
    assert "BrokenPipe" not in output
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        status, output = call(full)
    finally:
        os.close(full)
    assert status == 69, output
    assert output.splitlines()[-1] == "cannot write to standard output: No space left on device"
    assert "Traceback" not in output
