"""A real machine as the host of a group, beside machines of QEMU here: by a file of ours, and by the page of LAVA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.lava_page import PAGE
from tests.results import machines_of
from tests.vm_board import ON
from vmtasks import Guest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 900.0
"""Waiting for slots behind somebody else's machines is part of it."""
JOB = f"""
[[roles]]
name = "board"
on = "{ON}"

[[roles]]
name = "vm"
image = "bookworm"
count = 2

[[tests]]
name = "meet"
run = "lava-sync there && lava-send was-there name=$(lava-self) && lava-wait-all was-there"

[[tests]]
name = "read"
roles = ["board"]
run = "grep -x vm2:name=vm2 /tmp/lava_multi_node_cache.txt && ! getent hosts vm2"

[[tests]]
name = "reach"
roles = ["vm"]
run = "getent hosts vm1 vm2 && ! getent hosts board"
"""
STEPS = [
    "lava-sync begin",
    "case $(lava-role) in host) lava-wait-all up server;; server) lava-send up;; client) lava-wait up;; esac",
    "lava-test-case $(lava-role) --result pass",
]
LEFT = """
for path in /usr/local/lib/vmtasks-group /run/vmtasks-group /lava-vmtasks /tmp/lava_multi_node*; do
    [ ! -e "$path" ] || { echo "$path"; exit 0; }
done
exit 1
"""


def run_group(directory: Path, job: str) -> dict[str, object]:
    """Run a job, which must pass, and return its result."""
    argv = [str(Path(sys.executable).with_name("inv")), "-r", str(ROOT), "group", "--job", job, "--memory-mib", "512"]
    env = {**os.environ, "VMTASKS_SLOTS": "4"}  # the board has one all the time
    done = subprocess.run(argv, cwd=directory, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads((directory / "build/vmtasks/latest/result.json").read_text())
    return found


def test_a_board_and_machines_meet_and_nothing_is_left_there(board: Guest, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(JOB)
    run_group(tmp_path, "job.toml")
    board.fail(LEFT)
    board.succeed("! [ -s /var/lib/vmtasks/standing ]")


def test_the_job_of_lavas_page_has_a_board_for_its_host(board: Guest, tmp_path: Path) -> None:
    (tmp_path / "mytestdef.yaml").write_text(yaml.safe_dump({"metadata": {"name": "page"}, "run": {"steps": STEPS}}))
    (tmp_path / "lava.toml").write_text(
        f'[devices]\narndale = "{ON}"\nkvm-arm = "bookworm"\n[paths]\n"file:///path/to" = "."\n'
    )
    (tmp_path / "job.json").write_text(json.dumps(PAGE))
    result = run_group(tmp_path, "job.json")
    assert {one["machine"]: one["host"] for one in machines_of(result)} == {
        "host": ON,
        "server": "local",
        "client": "local",
    }
    board.fail(LEFT)
