"""What samples come to."""

from __future__ import annotations

import json
import math

import pytest

from tests.samples import sample, task
from vmtasks.profile.sample import MemoryUse, Sample, StorageUse
from vmtasks.profile.usage import ENDED, Ending, block_series, by_thread, cpu_series, memory_series, usage_of

DISK = {"read_bytes": 100, "written_bytes": 0, "reads": 1, "writes": 0, "flushes": 0}
NOTHING = Ending()


def test_json_keeps_a_sample() -> None:
    one = sample(0, task("CPU 0/KVM", 1.5), kvm=({"exits": 1},), storage=None, block={"disk": DISK})
    assert Sample.from_data(json.loads(json.dumps(one.as_data()))) == one


WHOLE = sample(0, task()).as_data()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"process": None},
        {**WHOLE, "more": 1},
        {**WHOLE, "monotonic_s": "1"},
        {**WHOLE, "monotonic_s": math.nan},
        {**WHOLE, "memory": {"resident_bytes": "1", "own_bytes": 1}},
        {**WHOLE, "memory": {"resident_bytes": 10**400, "own_bytes": 1}},
        {**WHOLE, "process": {**WHOLE["process"], "user_s": None}},
        {**WHOLE, "threads": [{**WHOLE["process"], "name": 1}]},
        {**WHOLE, "threads": None},
        {**WHOLE, "block": []},
        {**WHOLE, "block": {"disk": 1}},
        {**WHOLE, "kvm": [{"exits": "many"}]},
        {**WHOLE, "not_supported": {"kvm": 1}},
    ],
)
def test_what_is_no_sample_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no sample"):
        Sample.from_data(data)


def test_differences() -> None:
    first = sample(0, task(cpu_s=2.0), block={"disk": DISK}, storage=StorageUse(read_bytes=5, written_bytes=6))
    last = sample(
        4,
        task(cpu_s=5.0),
        block={"disk": {**DISK, "read_bytes": 150}, "usb": DISK},
        storage=StorageUse(read_bytes=9, written_bytes=6),
        cost_s=0.01,
    )
    usage = usage_of(
        (first, last), Ending(pss_bytes=7, cost_s=0.03, perf={"cycles": None}, not_supported={"cycles": "x"})
    )
    assert (usage.duration_s, usage.cpu_s, usage.faults) == (4.0, 3.0, {"minor": 30, "major": 0})
    assert usage.block == {
        "disk": {"read_bytes": 50, "written_bytes": 0, "reads": 0, "writes": 0, "flushes": 0},
        "usb": DISK,
    }
    assert usage.storage == {"read_bytes": 4, "written_bytes": 0}
    assert usage.memory["pss_bytes"] == 7
    assert usage.cost_s == pytest.approx(0.04)
    assert usage.cost_percent == pytest.approx(1.0)
    assert usage.not_supported == {"kvm": "emulated", "cycles": "x"}
    assert (usage.kvm, usage.network, usage.perf) == (None, None, {"cycles": None})


def test_the_highest_memory_is_of_any_sample() -> None:
    sizes = ((10, 1), (30, 2), (20, 9))
    samples = [sample(at, memory=MemoryUse(*size)) for at, size in enumerate(sizes)]
    assert usage_of(samples, NOTHING).memory == {
        "resident_peak_bytes": 30,
        "resident_end_bytes": 20,
        "own_peak_bytes": 9,
        "pss_bytes": None,
    }


def test_what_was_not_counted_from_beginning_to_end_is_none() -> None:
    nothing = {"storage": None, "block": None, "kvm": None}
    for first, last in ((nothing, {}), ({}, nothing), (nothing, nothing)):
        usage = usage_of((sample(0, **{"kvm": ({},), **first}), sample(1, **{"kvm": ({},), **last})), NOTHING)
        assert (usage.storage, usage.block, usage.kvm) == (None, None, None)


def test_counters_of_kvm_are_summed_up_over_vcpus() -> None:
    first, last = ({"exits": 5}, {"exits": 1}), ({"exits": 7, "hypercalls": 1}, {"exits": 2, "hypercalls": 0})
    assert usage_of((sample(0, kvm=first), sample(1, kvm=last)), NOTHING).kvm == {"exits": 3, "hypercalls": 1}


def test_threads_the_busiest_first_and_those_of_a_name_as_one() -> None:
    first = sample(0, task("CPU 0/TCG", 1.0, 1), task("worker", 1.0, 2))
    last = sample(1, task("CPU 0/TCG", 2.0, 1), task("worker", 2.5, 2), task("worker", 0.5, 3))
    assert list(by_thread((first, last)).items()) == [("worker", 2.0), ("CPU 0/TCG", 1.0)]


def test_a_number_that_another_thread_has_later_is_another_thread() -> None:
    first, last = sample(0, task("worker", 3.0, 2, began=5)), sample(1, task("worker", 1.0, 2, began=9), cpu_s=4.0)
    assert by_thread((first, last)) == {"worker": 1.0}


def test_what_threads_took_that_have_ended_is_told() -> None:
    first = sample(0, task("qemu", 1.0, 1), cpu_s=1.0)
    seen = sample(1, task("qemu", 1.0, 1), task("worker", 0.5, 2), cpu_s=1.5)
    last = sample(2, task("qemu", 1.0, 1), cpu_s=4.0)
    assert by_thread((first, seen, last)) == {ENDED: 2.5, "worker": 0.5, "qemu": 0.0}


def test_series() -> None:
    samples = (
        sample(0, task("qemu", 1.0), block={"disk": DISK}),
        sample(2, task("qemu", 2.0), block={"disk": {**DISK, "read_bytes": 300}}),
        sample(2, task("qemu", 2.0), block={"disk": DISK}),  # of the same moment: nothing can be divided by that
        sample(4, task("qemu", 4.0), block={"disk": DISK, "usb": DISK}),
    )
    assert cpu_series(samples) == cpu_series(samples, "qemu") == ((2.0, 50.0), (4.0, 100.0))
    assert cpu_series(samples, "none") == ((2.0, 0.0), (4.0, 0.0))
    assert block_series(samples)["read"] == ((2.0, 100.0), (4.0, 50.0))
    assert memory_series(samples)["its own"][-1] == (4.0, float(1 << 20))
    assert block_series((sample(0, block=None), sample(1))) == {}
