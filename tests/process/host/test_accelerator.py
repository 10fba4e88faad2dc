"""A trial of an accelerator, as a process that must not outlive its caller, nor reach more than it tries."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from vmtasks.deadline import Deadline
from vmtasks.process.landlock import abi

LIMIT_S = 20.0
QEMU = """#!/bin/sh
exec 2>&1 >"$SECTOR"
echo $$
cat "$SECRET" >"$SECTOR.more" || echo sealed
cat "$SECRET" >>"$SECTOR"
echo ready >>"$SECTOR"
exec sleep 600
"""
CALLER = """
import os
from pathlib import Path
from vmtasks.host import accelerator
accelerator.countdown_s("tcg", Path(os.environ["SECTOR"]), 600.0)
"""


def test_a_trial_ends_with_its_caller_and_has_no_privileges(tmp_path: Path) -> None:
    programs, sector, secret = tmp_path / "bin", tmp_path / "sector", tmp_path / "secret"
    programs.mkdir()
    (programs / "qemu-system-x86_64").write_text(QEMU)
    (programs / "qemu-system-x86_64").chmod(0o755)
    sector.touch()
    secret.write_text("a secret\n")
    environ = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}", "SECTOR": str(sector), "SECRET": str(secret),
    }  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", CALLER], env=environ) as caller:
        deadline = Deadline.after(LIMIT_S)
        while "ready" not in (written := sector.read_text()):
            assert not deadline.passed, "it does not begin"
        process = Path("/proc", written.split()[0])
        rights = re.findall(r"^(CapEff|CapPrm|NoNewPrivs):\s+(\w+)$", (process / "status").read_text(), re.MULTILINE)
        caller.kill()
    deadline = Deadline.after(LIMIT_S)
    while process.exists() and b"sleep" in (process / "cmdline").read_bytes():
        assert not deadline.passed, "it goes on without its caller"
    assert {name: int(value, 16) for name, value in rights} == {"CapEff": 0, "CapPrm": 0, "NoNewPrivs": 1}
    if abi():
        assert "sealed" in written
        assert "a secret" not in written
        assert not (tmp_path / "sector.more").exists()


KILLED = """
import math, os, signal
from vmtasks.host import accelerator, findings
accelerator._try = lambda: (accelerator.Choice(accelerator="tcg", reason="a test"), math.inf)
findings.durable.rename = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
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
