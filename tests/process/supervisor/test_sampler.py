"""A machine that is profiled: what its supervisor samples of the fake QEMU, which is a process as good as any."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.process.supervised import LIMIT_S, Supervisor
from tests.waiting import until
from vmtasks.deadline import Deadline
from vmtasks.profile.qemu_stats import BLOCK_QUERY, KVM_QUERY, NO_KVM
from vmtasks.profile.sample import Sample
from vmtasks.supervisor.plan import Plan

MakePlan = Callable[..., Plan]
Supervise = Callable[..., Supervisor]
DRIVE = {
    "device": "disk",
    "stats": {"rd_bytes": 512, "wr_bytes": 1024, "rd_operations": 1, "wr_operations": 2, "flush_operations": 3},
}
NAMELESS = {**DRIVE, "device": ""}
COUNTED = {"read_bytes": 512, "written_bytes": 1024, "reads": 1, "writes": 2, "flushes": 3}
PERF = """#!/bin/sh
# perf's manners: it counts until SIGINT, and then writes.
while [ "$1" != -o ]; do shift; done
output=$2
finish() {
    echo '# started' >"$output"
    echo '12.50;msec;task-clock;12500000;100.00;0.005;CPUs utilized' >>"$output"
    echo '<not supported>;;cycles;0;100.00;;' >>"$output"
    exit 130
}
trap finish INT
: >"$output.ready"
while :; do sleep 0.05; done
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of all programs that the supervisor finds, which is empty."""
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def begin(one: Supervisor, number: int = 0, interval_s: float = 60.0) -> dict[str, Any]:
    one.send({"do": "profile", "id": f"begin {number}", "number": number, "interval_s": interval_s})
    return answer_to(one, f"begin {number}")


def end(one: Supervisor, number: int = 0) -> dict[str, Any]:
    one.send({"do": "profiled", "id": f"end {number}", "number": number})
    return answer_to(one, f"end {number}")


def answer_to(one: Supervisor, request: str) -> dict[str, Any]:
    while (answer := one.hears("answer"))["id"] != request:
        pass
    return answer


def test_a_profile_has_a_first_and_a_last_sample_and_others_between(
    supervise: Supervise, plan: MakePlan, programs: Path
) -> None:
    one = supervise(plan({BLOCK_QUERY: [["answer", [DRIVE, NAMELESS]]]}))
    qemu_pid = one.starts()["qemu_pid"]
    first = Sample.from_data(begin(one, interval_s=0.05)["result"])
    second, third = (Sample.from_data(one.hears("sample")["sample"]) for _ in range(2))
    last = end(one)["result"]
    samples = [first, second, third, Sample.from_data(last["sample"])]
    assert [sample.process.id for sample in samples] == [qemu_pid] * 4
    times_s = [sample.monotonic_s for sample in samples]
    assert times_s == sorted(times_s)
    assert third.monotonic_s - first.monotonic_s >= 0.05, "each is due so long after the one before was"
    for sample in samples:
        assert {thread.id for thread in sample.threads} == {qemu_pid}
        assert sample.memory.resident_bytes > sample.memory.own_bytes > 0
        assert sample.block == {"disk": COUNTED}, "what has no name is no drive of the machine's"
        assert sample.kvm is None
        assert sample.not_supported["kvm"] == NO_KVM
    costs_s = [sample.cost_s for sample in samples]
    assert costs_s == sorted(costs_s)
    assert last["cost_s"] > 0
    assert 0 < last["pss_bytes"] <= samples[-1].memory.resident_bytes
    assert last["perf"] is None
    assert "not installed" in last["not_supported"]["perf"]


def test_nothing_is_sampled_before_and_after(supervise: Supervise, plan: MakePlan, programs: Path) -> None:
    one = supervise(plan())
    one.starts()
    begin(one, interval_s=0.05)
    one.hears("sample")
    end(one)
    one.send({"do": "stop"})
    assert one.ends()["status"] == 0, "and not a word more before that"


def test_profiles_overlap_and_the_shorter_interval_is_for_all(
    supervise: Supervise, plan: MakePlan, programs: Path
) -> None:
    one = supervise(plan())
    one.starts()
    begin(one, 1)
    begin(one, 2, interval_s=0.05)
    one.hears("sample")
    assert "sample" in end(one, 2)["result"]
    assert "sample" in end(one, 1)["result"]
    assert end(one, 1)["error"] == "cannot end the profile 1: it has not begun with this QEMU"


def test_counters_of_kvm(supervise: Supervise, plan: MakePlan, programs: Path) -> None:
    stats = [
        {"name": "exits", "value": 7},
        {"name": "guest_mode", "value": True},
        {"name": "halt_wait_hist", "value": [0, 1]},
    ]
    vcpus = [{"provider": "kvm", "qom-path": f"/machine/unattached/device[{n}]", "stats": stats} for n in range(2)]
    one = supervise(plan({KVM_QUERY: [["answer", vcpus]]}))
    one.starts()
    sample = Sample.from_data(begin(one)["result"])
    assert sample.kvm == ({"exits": 7}, {"exits": 7})
    assert "kvm" not in sample.not_supported


def test_what_qemu_refuses_or_does_not_answer_is_not_supported_and_its_events_are_heard(
    supervise: Supervise, plan: MakePlan, programs: Path
) -> None:
    script = {BLOCK_QUERY: [["ignore"], ["event", "STOP", {}]], KVM_QUERY: [["send", '{"error": 1}'], ["ignore"]]}
    one = supervise(plan(script))
    one.starts()
    begun = begin(one)["result"]
    sample = Sample.from_data(begun)
    assert (sample.block, sample.kvm) == (None, None)
    assert sample.not_supported["block"] == "QEMU did not send the answer to query-blockstats in time"
    assert "query-stats" in sample.not_supported["kvm"]
    assert one.hears("qemu")["name"] == "STOP"


def test_a_caller_that_does_not_read_has_a_supervisor_that_goes_on(
    supervise: Supervise, plan: MakePlan, programs: Path
) -> None:
    drives = [{**DRIVE, "device": f"drive{number}"} for number in range(300)]  # a few samples of them fill a pipe
    ours = plan({BLOCK_QUERY: [["answer", drives]]})
    one = supervise(ours)
    one.starts()
    begin(one, interval_s=0.05)
    lease = Path(ours.directory, "lease.json")
    stopped = Deadline.after(1.0)
    seconds = 1000
    while not stopped.passed:
        seconds += 1000
        one.send({"do": "live", "id": seconds, "lifetime_s": seconds})
        until("new lease", lambda: until_s(lease) > time.time() + seconds - 500)  # noqa: B023 - called at once
    assert "sample" in end(one)["result"]


def until_s(lease: Path) -> float:
    with suppress(ValueError):  # it is being written
        return float(json.loads(lease.read_text())["until_s"] or 0)
    return 0.0


def wait_for(path: Path) -> None:
    until(str(path), path.exists, LIMIT_S)


@pytest.fixture
def perf(programs: Path) -> Path:
    program = programs / "perf"
    program.write_text(PERF.replace("sleep", "/bin/sleep"))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_perf_counts_between_the_ends_and_leaves_nothing(supervise: Supervise, plan: MakePlan, perf: Path) -> None:
    ours = plan()
    one = supervise(ours)
    one.starts()
    begin(one, 5)
    wait_for(Path(ours.directory, "perf-5.ready"))
    last = end(one, 5)["result"]
    assert last["perf"] == {"task-clock (msec)": 12.5, "cycles": None}
    assert last["not_supported"]["cycles"].startswith("this processor")
    assert not Path(ours.directory, "perf-5").exists()


def test_perf_that_is_not_allowed_says_why(supervise: Supervise, plan: MakePlan, perf: Path) -> None:
    perf.write_text("#!/bin/sh\necho 'Access to performance monitoring is limited.' >&2\nexit 255\n")
    one = supervise(plan())
    one.starts()
    begin(one)
    deadline = Deadline.after(LIMIT_S)
    while (last := end(one)["result"])["not_supported"]["perf"].endswith("when the profile ended"):
        assert not deadline.passed, last  # it was ended before it could say anything
        begin(one)
    assert last["perf"] is None
    assert last["not_supported"]["perf"] == "perf stat: Access to performance monitoring is limited."


def test_perf_goes_with_its_machine(
    supervise: Supervise, plan: MakePlan, perf: Path, ended: Callable[..., bool], tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    lines = (
        "trap '' INT",
        f"echo $$ >{pid_file}.new",
        f"/bin/mv {pid_file}.new {pid_file}",
        "while :; do /bin/sleep 0.1; done",
    )
    perf.write_text("\n".join(("#!/bin/sh", *lines, "")))
    one = supervise(plan())
    one.starts()
    begin(one)
    wait_for(pid_file)
    pid = int(pid_file.read_text())
    assert not ended(pid, timeout_s=0)
    os.kill(one.process.pid, signal.SIGKILL)
    assert ended(pid)
