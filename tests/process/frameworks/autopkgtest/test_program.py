"""The virtualisation server as the process that autopkgtest starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("autopkgtest-virt-vmtasks")
LONG_ENOUGH_S = 1.5
"""More than it takes to see that a pipe has no reader any more."""


def test_autopkgtest_closes_the_pipe_of_the_answers_before_its_last_request() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([PROGRAM, "bookworm"], text=True, **pipes) as server:
        try:
            assert server.stdin
            assert server.stdout
            assert server.stderr
            assert server.stdout.readline() == "ok\n"
            server.stdout.close()
            with pytest.raises(subprocess.TimeoutExpired):
                server.wait(LONG_ENOUGH_S)
            server.stdin.write("quit\n")
            server.stdin.close()
            assert server.wait(30) == 0, server.stderr.read()
            assert server.stderr.read() == ""
        finally:
            server.kill()
