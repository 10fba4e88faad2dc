"""Groups that a file describes, as their users call them: what is written down, and what is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.group_roles import roles
from tests.results import machines_of
from tests.waiting import until
from vmtasks.host.lease import leases
from vmtasks.host.slots import tickets

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 900.0
"""Waiting for slots behind somebody else's machines is part of it."""

JOB = """
[group]
network = "none"
"""
JOB += roles(server="memory_mib = 512\n", client="memory_mib = 512\n")
JOB += """
[[tests]]
name = "names"
run = "getent hosts server client"

[[tests]]
name = "ready"
roles = ["server"]
run = "lava-send ready port=80"

[[tests]]
name = "fails"
roles = ["client"]
run = "lava-wait ready; grep ^server:port=80$ /tmp/lava_multi_node_cache.txt && exit 3"

[[tests]]
name = "from the host"
roles = ["host"]
run = 'eval "$SSH_SERVER lava-self" | grep ^server$'

[[tests]]
name = "end"
run = "lava-sync end"
"""


def inv_group(tmp_path: Path, job: str) -> subprocess.Popen[bytes]:
    (tmp_path / "job.toml").write_text(job)
    argv = [str(Path(sys.executable).with_name("inv")), "-r", str(ROOT), "group", "--job", "job.toml"]
    with (tmp_path / "stderr").open("wb") as stderr:
        return subprocess.Popen(argv, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=stderr, start_new_session=True)


def test_a_group_in_a_file_runs_and_is_written_down(tmp_path: Path) -> None:
    with inv_group(tmp_path, JOB) as process:
        process.wait(LIMIT_S)
    assert process.returncode == 1, (tmp_path / "stderr").read_text()
    result = json.loads((tmp_path / "build/vmtasks/latest/result.json").read_text())
    assert {case["case"]: case["outcome"] for case in result["cases"]} == {
        "server: names": "passed",
        "client: names": "passed",
        "server: ready": "passed",
        "client: fails": "test-failed",
        "host: from the host": "passed",
        "server: end": "passed",
        "client: end": "passed",
    }
    calls = [(row["machine"], row["verb"], row["id"], row["outcome"]) for row in result["messages"]]
    assert sorted(calls) == [
        ("client", "sync", "end", "passed"),
        ("client", "wait", "ready", "passed"),
        ("server", "send", "ready", "passed"),
        ("server", "sync", "end", "passed"),
    ]
    assert {one["machine"]: one["start"] for one in machines_of(result)} == {"server": "clone", "client": "clone"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_group_whose_caller_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    job = JOB.replace("lava-sync end", "touch /run/there; sleep 1000")
    with inv_group(tmp_path, job) as process:
        lines = tmp_path / "stderr"
        until("the last tests", lambda: lines.read_text().count("$ touch /run/there") == 2, LIMIT_S)
        mine = [one.info for one in leases() if one.alive and one.info["caller_pid"] == process.pid]
        assert len(mine) == 2
        (socket,) = re.findall(r"addr\.path=(\S+)", " ".join(mine[0]["argv"]))
        network = Path(socket).parent
        assert network.exists()
        os.kill(process.pid, number)
        process.wait(LIMIT_S)
    until("the end of its QEMUs", lambda: not any(Path(f"/proc/{one['qemu_pid']}").exists() for one in mine), LIMIT_S)
    until("free slots", lambda: not [one for one in tickets() if one.pid == process.pid], LIMIT_S)
    until("the end of the network", lambda: not network.exists(), LIMIT_S)
