"""What a host has to give, read from a /proc and a /sys that are made up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmtasks.host import capacity
from vmtasks.host.slots import Limits


def made_up(root: Path, **files: str) -> str:
    """Make a /proc and a /sys; ``__`` in a name stands for a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(
        "MemTotal:        8388608 kB\nMemFree:         1 kB\nMemAvailable:    4194304 kB\n"
    )
    for name, text in files.items():
        path = root / "proc/self/cgroup" if name == "cgroup" else root / "sys/fs/cgroup" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return str(root)


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


V1 = "4:memory:/job\n3:cpu,cpuacct:/job\n1:name=systemd:/job"


@pytest.mark.parametrize(
    ("files", "expected_mib"),
    [
        ({}, 8192),
        ({"cgroup": "0::/job", "job__memory.max": "max", "memory.max": "max"}, 8192),
        ({"cgroup": "0::/job", "job__memory.max": str(1 << 30)}, 1024),
        ({"cgroup": "0::/slice/job", "slice__memory.max": str(2 << 30), "slice__job__memory.max": "max"}, 2048),
        ({"cgroup": "0::/", "memory.max": str(3 << 30)}, 3072),
        ({"cgroup": "0::/not/here", "memory.max": str(3 << 30)}, 3072),
        ({"cgroup": V1, "memory__job__memory.limit_in_bytes": str(1 << 30)}, 1024),
        ({"cgroup": V1, "memory__job__memory.limit_in_bytes": "9223372036854771712"}, 8192),
        ({"cgroup": V1 + "\n0::/job", "unified__job__memory.max": str(1 << 30)}, 1024),
        ({"cgroup": "1:name=systemd:/job", "memory__job__memory.limit_in_bytes": str(1 << 30)}, 8192),
    ],
)
def test_memory_is_what_the_cgroups_leave_of_it(tmp_path: Path, files: dict[str, str], expected_mib: int) -> None:
    assert capacity.memory_mib(made_up(tmp_path, **files)) == expected_mib


@pytest.mark.parametrize(
    ("files", "expected_mib"),
    [
        ({}, 4096),
        ({"cgroup": "0::/job", "job__memory.max": str(6 << 30)}, 4096),
        ({"cgroup": "0::/job", "job__memory.max": str(1 << 30)}, 1024),
    ],
)
def test_available_is_no_more_than_the_cgroups_leave(tmp_path: Path, files: dict[str, str], expected_mib: int) -> None:
    assert capacity.memory_available_mib(made_up(tmp_path, **files)) == expected_mib


def test_a_kernel_that_does_not_tell_what_is_available_has_none(tmp_path: Path) -> None:
    root = made_up(tmp_path)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8388608 kB\n")
    assert capacity.memory_available_mib(root) == 0


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cgroup": "0::/job", "job__cpu.max": "max 100000"}, 8),
        ({"cgroup": "0::/job", "job__cpu.max": "350000 100000"}, 3),
        ({"cgroup": "0::/job", "job__cpu.max": "max 100000", "cpu.max": "200000 100000"}, 2),
        ({"cgroup": "0::/job", "job__cpu.max": "1000 100000"}, 1),
        ({"cgroup": V1, "cpu,cpuacct__job__cpu.cfs_quota_us": "-1", "cpu__job__cpu.cfs_period_us": "100000"}, 8),
        ({"cgroup": V1, "cpu__job__cpu.cfs_quota_us": "400000", "cpu__job__cpu.cfs_period_us": "100000"}, 4),
    ],
)
def test_cores_are_what_affinity_and_cgroups_leave(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert capacity.cores(made_up(tmp_path, **files)) == expected


def test_this_host_has_cores_and_memory() -> None:
    assert 1 <= capacity.cores() <= 8
    assert 0 < capacity.memory_available_mib() <= capacity.memory_mib()


@pytest.mark.parametrize(
    ("cores", "total_mib", "emulated", "expected"),
    [
        (2, 24000, True, Limits(machines=2, memory_mib=21600)),
        (2, 24000, False, Limits(machines=4, memory_mib=21600)),
        (1, 2048, True, Limits(machines=1, memory_mib=1536)),
        (1, 256, False, Limits(machines=2, memory_mib=0)),
    ],
)
def test_default_limits(tmp_path: Path, cores: int, total_mib: int, emulated: bool, expected: Limits) -> None:
    root = made_up(tmp_path, cgroup="0::/", **{"cpu.max": f"{cores} 1"})
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: {total_mib * 1024} kB\n")
    assert capacity.default_limits(emulated=emulated, root=root) == expected
