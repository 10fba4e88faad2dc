"""What is swept of machines: what provably nobody has any more, with a lease or without."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from vmtasks.host.flock import flock
from vmtasks.host.lease import leases, machines_dir, sweep

LONG_AGO_S = 1000.0


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path))
    machines_dir().mkdir()
    return machines_dir()


def age(directory: Path) -> None:
    then_s = time.time() - LONG_AGO_S
    os.utime(directory, (then_s, then_s))


def test_a_directory_without_a_lease_is_swept(machines: Path) -> None:
    left = [machines / "empty-1-0", machines / "half-1-0"]
    for path in left:
        path.mkdir()
    (left[1] / "lease.new").write_text("{}")
    for path in left:
        age(path)
    assert [lease.directory for lease in sweep()] == left
    assert list(machines.iterdir()) == []
    assert sweep() == ()


def test_one_that_is_just_being_made_is_not(machines: Path) -> None:
    (machines / "young-1-0").mkdir()
    (machines / "slow-1-0").mkdir()
    fd = flock(machines / "slow-1-0" / "lease.new", fcntl.LOCK_EX)
    age(machines / "slow-1-0")
    try:
        assert sweep() == ()
    finally:
        os.close(fd)
    assert sorted(path.name for path in machines.iterdir()) == ["slow-1-0", "young-1-0"]


@pytest.mark.parametrize("text", ["", "\x00" * 10, "5", "[]", '{"ports": 5}', "[" * 100_000, "\udcff"])
def test_a_damaged_lease_is_one_all_the_same(machines: Path, text: str) -> None:
    directory = machines / "guest-1-0"
    directory.mkdir()
    (directory / "lease.json").write_bytes(text.encode(errors="surrogateescape"))
    fd = flock(directory / "lease.json", fcntl.LOCK_EX)
    try:
        (lease,) = leases()
        assert (lease.alive, lease.info) == (True, {})
        assert sweep() == ()
    finally:
        os.close(fd)
    assert [lease.directory for lease in sweep()] == [directory]


def test_what_stands_in_place_of_a_lease_is_swept(machines: Path) -> None:
    (machines / "one-1-0" / "lease.json").mkdir(parents=True)
    (machines / "two-1-0").mkdir()
    os.mkfifo(machines / "two-1-0" / "lease.json")
    assert len(sweep()) == 2
    assert list(machines.iterdir()) == []
