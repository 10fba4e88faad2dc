"""A trial of an accelerator, as a process that must not outlive its caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from vmtasks.deadline import Deadline

LIMIT_S = 20.0
QEMU = """#!/bin/sh
echo $$ >"$PID"
grep CapEff /proc/self/status >"$PID.rights"
exec sleep 600
"""
CALLER = """
from pathlib import Path
from vmtasks.host import accelerator
accelerator.TRIAL_LIMIT_S = 600.0
accelerator.countdown_s("tcg", Path("/dev/null"))
"""


def test_a_trial_ends_with_its_caller_and_has_no_privileges(tmp_path: Path) -> None:
    (tmp_path / "qemu-system-x86_64").write_text(QEMU)
    (tmp_path / "qemu-system-x86_64").chmod(0o755)
    pid = tmp_path / "pid"
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PID": str(pid)}
    with subprocess.Popen([sys.executable, "-c", CALLER], env=environ) as caller:
        deadline = Deadline.after(LIMIT_S)
        while not (tmp_path / "pid.rights").is_file() or not (tmp_path / "pid.rights").read_text():
            assert not deadline.passed, "it does not begin"
        caller.kill()
    there = Path("/proc") / pid.read_text().strip() / "cmdline"
    deadline = Deadline.after(LIMIT_S)
    while there.exists() and b"sleep" in there.read_bytes():
        assert not deadline.passed, "it goes on without its caller"
    assert int((tmp_path / "pid.rights").read_text().split()[1], 16) == 0


KILLED = """
import math, os, signal
from vmtasks.host import accelerator
accelerator._try = lambda: (accelerator.Choice(accelerator="tcg", reason="a test"), math.inf)
accelerator.durable.rename = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
accelerator.choose("auto")
"""


def test_one_that_is_killed_while_it_writes_the_answer_down_leaves_nothing(tmp_path: Path) -> None:
    for program in ("qemu-system-x86_64", "qemu-img"):
        (tmp_path / program).write_text("")
        (tmp_path / program).chmod(0o755)
    cache = tmp_path / "cache"
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "VMTASKS_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", KILLED], env=environ, check=False, timeout=LIMIT_S)
    assert done.returncode == -signal.SIGKILL
    deadline = Deadline.after(LIMIT_S)
    while list(cache.iterdir()):
        assert not deadline.passed, "it is left"
