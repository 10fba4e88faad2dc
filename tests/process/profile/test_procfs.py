"""What /proc says of processes that end."""

from __future__ import annotations

import os
import subprocess

import pytest

from vmtasks.profile import procfs


def test_a_process_that_has_ended_is_none_that_takes_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError):
            procfs.process(process.pid)
