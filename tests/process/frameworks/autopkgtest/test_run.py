"""A call of autopkgtest, with another program in its place."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import pytest

from vmtasks.errors import TestFailed
from vmtasks.frameworks.autopkgtest import run as run_module
from vmtasks.frameworks.autopkgtest.testbed import Testbed


@pytest.mark.parametrize("file_bytes", [1 << 40, 2 << 20])
def test_a_test_that_prints_without_end_is_ended_and_fills_no_disk(
    file_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_LOG_BYTES", 1 << 20)
    monkeypatch.setattr(run_module, "_FILE_BYTES", file_bytes)
    directory = tmp_path / "out"
    directory.mkdir()
    # Slow enough to be seen in time, where no limit of the kernel's is met.
    write = f"while head -c 500000 /dev/zero >>{directory}/log; do sleep 0.05; done"
    if file_bytes < 1 << 40:
        write = f"yes >{directory}/log"
    began_s = time.monotonic()
    with pytest.raises(TestFailed, match="the tests print more than 1 MiB, and were ended"):
        run_module.run(
            lambda _: ["/bin/sh", "-c", write], cast("Testbed", None), directory=directory, machine="m", shown="x"
        )
    assert time.monotonic() - began_s < 30
    assert (directory / "log").stat().st_size <= (50 << 20 if file_bytes == 1 << 40 else file_bytes)
