"""Which tests run beside each other, and which never do."""

from __future__ import annotations

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
    assert [name for name in ONE_AT_A_TIME | FREE if not (ROOT / name).is_file()] == []
