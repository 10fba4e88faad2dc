"""How a watchdog ends, which the near end hears of if the link serves again by then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vmtasks.remote.heartbeat import SILENT_STATUS

ROOT = Path(__file__).resolve().parents[3]
WATCHDOG = """
import sys
from vmtasks.remote import watchdog
watchdog.TIMEOUT_S = 0.2
watchdog.main()
"""


@pytest.mark.parametrize(("falls_silent", "status"), [(True, SILENT_STATUS), (False, 0)])
def test_a_silent_link_is_told_from_one_that_is_closed(
    falls_silent: bool, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    command = [sys.executable, "-c", WATCHDOG, "vmtasks.process.matching"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT) as process:
        assert process.stdin
        if not falls_silent:
            process.stdin.close()
        assert process.wait(30.0) == status
