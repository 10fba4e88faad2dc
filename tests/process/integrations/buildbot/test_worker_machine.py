"""The process that holds a machine for a Buildbot's master, as far as it comes without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.process.supervised import LIMIT_S, Lines
from vmtasks.cache.entry import exclusive


@contextmanager
def hold(image: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "vmtasks.integrations.buildbot.worker_machine"]
    with subprocess.Popen(
        argv, env={**os.environ, **environ}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        config = {"image": image, "name": "vm1", "password": "a password", "master": "127.0.0.1:9"}
        process.stdin.write(json.dumps(config).encode() + b"\n")
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()


def test_an_image_that_is_not_there_is_told_on_standard_output() -> None:
    with hold("bookwrm") as process:
        report = Lines(process).next()
        assert (report["event"], report["outcome"]) == ("failed", "usage")
        assert "there is no image 'bookwrm'; did you mean 'bookworm'?" in report["message"]
        assert process.wait(LIMIT_S) == 64


def test_its_machine_is_on_this_host_wherever_the_settings_have_others() -> None:
    with hold("bookwrm", VMTASKS_ON="elsewhere") as process:
        assert "there is no image" in Lines(process).next()["message"]


def test_settings_that_are_no_file_are_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(settings := tmp_path / "config.toml")
    with hold("bookworm", VMTASKS_CONFIG=str(settings)) as process:
        assert "it is not a regular file" in Lines(process).next()["message"]
        assert process.wait(LIMIT_S) == 64


def test_the_end_of_standard_input_ends_it_whatever_it_waits_for(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    held = exclusive(tmp_path / "images" / "bookworm.lock", other="nobody")
    with held, hold("bookworm", VMTASKS_CACHE=str(tmp_path), VMTASKS_ACCEL="tcg") as process:
        assert process.stdin
        assert process.stderr
        while b"another bake of bookworm" not in (line := process.stderr.readline()):
            assert line, "it has ended"
        process.stdin.close()
        assert process.wait(LIMIT_S) == 130
