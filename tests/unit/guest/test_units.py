"""Which units count as failed: with a real shell, and another systemctl."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vmtasks.guest import units
from vmtasks.ssh.command import Command

SYSTEMCTL = """#!/bin/sh
for word; do case $word in --state=*) states=,${word#--state=}, ;; esac; done
while read -r unit load active sub rest; do
    case $states in *,$active,*|*,$sub,*) echo "$unit $load $active $sub $rest" ;; esac
done <<END
calm.service loaded active running a calm one
done.service loaded active exited a done one
dead.service loaded failed failed a dead one
again.service loaded activating auto-restart one that is started again and again
begins.service loaded activating start one that begins
END
"""
JOURNALCTL = """#!/bin/sh
echo "${4##*=} fell over"
"""


def test_a_unit_that_is_started_again_and_again_has_failed(tmp_path: Path) -> None:
    for name, script in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)

    def query(command: Command) -> str:
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        line = ["/bin/sh", "-c", str(command)]
        return subprocess.run(line, env=env, check=True, capture_output=True, text=True).stdout

    assert [(one.name, one.last) for one in units.failed(query)] == [
        ("dead.service", "dead.service fell over"),
        ("again.service", "again.service fell over"),
    ]
