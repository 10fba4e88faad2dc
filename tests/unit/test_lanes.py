"""Which tests run beside each other, and which never do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lanes import FREE, ONE, ONE_AT_A_TIME, SEVERAL, lane_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("nodeid", "lane"),
    [
        ("tests/unit/test_apt.py::test_one", "tests/unit/test_apt.py"),
        ("tests/process/test_far.py::test_one[a::b]", "tests/process/test_far.py"),
        ("tests/ec2/test_ec2.py::TestEc2::test_one", "tests/ec2/test_ec2.py"),
        ("tests/vm/test_guest.py::test_one", ONE),
        ("tests/vm/test_copies.py::test_one[tests/vm/test_guest.py]", SEVERAL),
        ("tests/vm/test_of_tomorrow.py::test_one", SEVERAL),
        ("tests/vm/test_images.py::test_one", "tests/vm/test_images.py"),
    ],
)
def test_a_test_has_its_lane(nodeid: str, lane: str) -> None:
    assert lane_of(nodeid) == lane


def test_the_lane_of_single_machines_names_what_is_there() -> None:
    assert [name for name in (*ONE_AT_A_TIME, *FREE) if not (ROOT / name).is_file()] == []


CONFTEST = """
import pytest

@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from tests.lanes import Lanes
    return Lanes(config, log)
"""
HANGS = """
import pytest, time

@pytest.mark.parametrize("number", range(6))
def test_it(number):
    time.sleep(600 if number == 2 else 0)
"""


def test_a_test_that_hangs_fails_alone_and_once(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "test_one.py").write_text(HANGS)
    (tmp_path / "test_other.py").write_text("def test_it():\n    pass\n")
    ends = ("-o", "faulthandler_timeout=2", "-o", "faulthandler_exit_on_timeout=true")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", *ends, tmp_path],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert "1 failed, 6 passed" in done.stdout
    assert "crashed while running 'test_one.py::test_it[2]'" in done.stdout
    assert "in test_it" in done.stderr, "the stacks are told"
