"""suite and netperf as their users call them: real runners in a real machine that reboots, and a real network."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.vm.test_recipes import INV, LIMIT_S

AVOCADO = """\
import os
from avocado import Test
class One(Test):
    def test_ok(self):
        with open(os.path.join(os.environ["VMTASKS_SUITE_RESULTS"], "left"), "w") as file:
            file.write("left")
    def test_bad(self):
        self.fail("no good")
"""
PYTEST = """\
import pytest
def test_ok(): pass
def test_bad(): assert 1 == 2
@pytest.mark.skip(reason="not today")
def test_skipped(): pass
"""
BATS = """\
@test "adds" { true; }
@test "fails" { echo why; false; }
"""


def run(tmp_path: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Run a recipe; return its exit status, and its result."""
    done = subprocess.run(
        [*INV, *words, "--out", str(tmp_path / "out")],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    result: dict[str, Any] = json.loads((tmp_path / "build/vmtasks/latest/result.json").read_text(encoding="utf-8"))
    return done.returncode, result


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    return {case["case"]: case["outcome"] for case in result["cases"]}


def test_scripts_survive_a_reboot(tmp_path: Path) -> None:
    suite = tmp_path / "smoke"
    suite.mkdir()
    (suite / "a").write_text('#!/bin/sh\necho once >>"$VMTASKS_SUITE_RESULTS/a"\n')
    (suite / "b").write_text('#!/bin/sh\n[ "$VMTASKS_REBOOT_COUNT" = 1 ] || systemctl reboot\n')
    (suite / "c").write_text("#!/bin/sh\nexit 77\n")
    for path in suite.iterdir():
        path.chmod(0o755)
    status, result = run(tmp_path, "suite", str(suite))
    assert status == 0, result["message"]
    assert outcomes(result) == {"a": "passed", "b": "passed", "c": "skipped"}
    assert (tmp_path / "out/smoke/a").read_text() == "once\n"


@pytest.mark.parametrize(
    ("runner", "file", "text", "names"),
    [
        ("avocado", "one.py", AVOCADO, ["test_ok", "test_bad"]),
        ("pytest", "test_a.py", PYTEST, ["test_ok", "test_bad", "test_skipped"]),
        ("bats", "a.bats", BATS, ["adds", "fails"]),
    ],
)
def test_a_runner_is_brought_along(tmp_path: Path, runner: str, file: str, text: str, names: list[str]) -> None:
    suite = tmp_path / "smoke"
    suite.mkdir()
    (suite / file).write_text(text)
    status, result = run(tmp_path, "suite", str(suite), "--runner", runner)
    assert status == 1, result["message"]
    told = outcomes(result)  # avocado runs several at a time: their order is that of their ends
    by_name = {name: outcome for name in names for case, outcome in told.items() if case.endswith(name)}
    assert len(told) == len(names)
    assert by_name == dict(zip(names, ["passed", "test-failed", "skipped"], strict=False))
    assert list((tmp_path / "out/smoke/start-0").rglob("results.*"))
    assert (tmp_path / "out/smoke/left").exists() == (runner == "avocado")


def test_the_limit_ends_a_suite(tmp_path: Path) -> None:
    suite = tmp_path / "smoke"
    suite.mkdir()
    (suite / "a").write_text("#!/bin/sh\nsleep 1000\n")
    (suite / "a").chmod(0o755)
    status, result = run(tmp_path, "suite", str(suite), "--timeout-s", "5")
    assert status == 124
    assert result["message"].startswith("the suite smoke did not end within 5 s")


@pytest.mark.parametrize("server", ["guest", "host"])
def test_the_network_is_measured(tmp_path: Path, server: str) -> None:
    if server == "host" and shutil.which("iperf3") is None:
        pytest.skip("this host has no iperf3")
    status, result = run(tmp_path, "netperf", "--server", server, "--seconds", "3")
    assert status == 0, result["message"]
    measured = {case["case"]: (float(case["measurement"]), case["units"]) for case in result["cases"] if case["units"]}
    assert measured["received"][0] > 1
    assert measured["received"][1] == "Mbit/s"
    assert (tmp_path / "out/iperf3.json").is_file()
