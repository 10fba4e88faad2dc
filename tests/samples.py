"""Samples that a test makes up."""

from __future__ import annotations

from typing import Any

from vmtasks.profile.sample import MemoryUse, Sample, StorageUse, TaskTimes


def task(name: str = "qemu", cpu_s: float = 0.0, number: int = 1, began: int = 5) -> TaskTimes:
    return TaskTimes(
        id=number,
        name=name,
        began_ticks=began,
        user_s=cpu_s,
        system_s=0.0,
        minor_faults=int(10 * cpu_s),
        major_faults=1,
    )


def sample(at_s: float, *threads: TaskTimes, cpu_s: float | None = None, **more: Any) -> Sample:
    whole = task("qemu", sum(one.cpu_s for one in threads) if cpu_s is None else cpu_s)
    given: dict[str, Any] = {
        "memory": MemoryUse(resident_bytes=3 << 20, own_bytes=1 << 20),
        "storage": StorageUse(read_bytes=0, written_bytes=0),
        "block": {},
        "kvm": None,
        "cost_s": 0.0,
        "not_supported": {"kvm": "emulated"},
    }
    return Sample(at_s=1e9 + at_s, monotonic_s=100 + at_s, process=whole, threads=threads, **{**given, **more})
