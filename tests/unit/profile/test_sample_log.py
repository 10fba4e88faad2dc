"""Samples are kept: all in the file, some in memory."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from tests.samples import sample, task
from vmtasks.profile import sample_log
from vmtasks.profile.profile import Profile
from vmtasks.profile.sample import MemoryUse
from vmtasks.profile.sample_log import SampleLog


def test_in_memory_are_the_first_the_last_and_some_between(tmp_path: Path) -> None:
    log = SampleLog(tmp_path / "new" / "samples.jsonl")
    number = 5 * sample_log.MOST_SAMPLES
    with log.opened():
        for at in range(number):
            log.add(sample(at).as_data())
    times = [one.monotonic_s - 100 for one in log.samples]
    assert (times[0], times[-1]) == (0, number - 1)
    assert sample_log.MOST_SAMPLES / 2 <= len(times) <= sample_log.MOST_SAMPLES + 2
    steps = {later - earlier for earlier, later in pairwise(times[:-1])}
    assert len(steps) == 1, "at equal distances"
    assert log.file
    assert len(log.file.read_text().splitlines()) == number
    assert log.cost_s > 0


def test_what_lies_between_those_in_memory_counts_as_well() -> None:
    log = SampleLog(None)
    qemu, most = task("qemu", 0.0, 1), MemoryUse(resident_bytes=30 << 20, own_bytes=20 << 20)
    number = 5 * sample_log.MOST_SAMPLES
    for at in range(number):
        is_odd_one = at == sample_log.MOST_SAMPLES + 1
        worker = [task("worker", 0.5, 2 + at)] if is_odd_one else []
        log.add(sample(at, qemu, *worker, cpu_s=0.5, **({"memory": most} if is_odd_one else {})).as_data())
    assert most not in {one.memory for one in log.samples}, "it is one of those that are not kept"
    usage = Profile("m", log).usage
    assert usage
    assert usage.memory["resident_peak_bytes"] == most.resident_bytes
    assert usage.memory["own_peak_bytes"] == most.own_bytes
    assert usage.memory["resident_end_bytes"] == 3 << 20
    assert usage.threads == {"worker": 0.5, "qemu": 0.0}


def test_each_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    log = SampleLog(path)
    with log.opened():
        log.add(sample(1).as_data())
        assert json.loads(path.read_text())["monotonic_s"] == 101
    log.add(sample(2).as_data())
    assert len(path.read_text().splitlines()) == 1, "what comes late has no place in it"


def test_what_is_out_of_order_is_left_out() -> None:
    log = SampleLog(None)
    for at_s in (2, 1, 2, 3):
        log.add(sample(at_s).as_data())
    assert [one.monotonic_s for one in log.samples] == [102, 103]


def test_one_sample_makes_no_profile() -> None:
    log = SampleLog(None)
    profile = Profile("m", log)
    log.add(sample(1).as_data())
    assert profile.usage is None
    assert profile.table() == "not supported: fewer than two samples have come\n"
    log.add(sample(2).as_data())
    assert profile.usage
