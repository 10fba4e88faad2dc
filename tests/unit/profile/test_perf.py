"""perf stat: what it is told, and what it answers."""

from __future__ import annotations

from pathlib import Path

from vmtasks.profile.perf import parse_perf, perf_argv, tracepoints

OUTPUT = """\
# started on Sun Nov 29 09:33:23 2026

2.82;msec;task-clock;2823251;100.00;0.005;CPUs utilized
4;;context-switches;2823251;100.00;1.417;K/sec
0;;cpu-migrations;2823251;100.00;0.000;/sec
<not supported>;;cycles;0;100.00;;
<not counted>;;kvm:kvm_exit;0;100.00;;
123456;;instructions:u;2823251;100.00;0.9;insn per cycle
"""


def test_the_command_line() -> None:
    argv = perf_argv(4711, ("cycles", "page-faults"), "/machine/perf")
    assert argv == ("perf", "stat", "-x", ";", "-e", "cycles,page-faults", "-o", "/machine/perf", "-p", "4711")


def test_counts_and_what_is_none() -> None:
    counts, reasons = parse_perf(OUTPUT)
    assert counts == {
        "task-clock (msec)": 2.82,
        "context-switches": 4,
        "cpu-migrations": 0,
        "cycles": None,
        "kvm:kvm_exit": None,
        "instructions:u": 123456,
    }
    assert reasons.keys() == {"cycles", "kvm:kvm_exit"}


def test_no_output_is_no_counts() -> None:
    assert parse_perf("") == ({}, {})


def test_tracepoints_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "kvm" / "kvm_exit").mkdir(parents=True)
    (tmp_path / "kvm" / "kvm_exit" / "id").touch()
    assert tracepoints(("kvm:kvm_exit", "kvm:kvm_pio"), str(tmp_path)) == ("kvm:kvm_exit",)
