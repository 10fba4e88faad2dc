"""What ``perf stat`` counts of a process: its command line, and its output. Standard library only.

Source: perf-stat(1), of which this is the CSV format.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SOFTWARE = ("task-clock", "context-switches", "cpu-migrations", "page-faults")
HARDWARE = ("cycles", "instructions", "branches", "branch-misses", "cache-references", "cache-misses")
KVM = ("kvm:kvm_exit", "kvm:kvm_page_fault", "kvm:kvm_pio", "kvm:kvm_mmio", "kvm:kvm_inj_virq")
"""Tracepoints: what ``perf kvm stat`` records one by one is only counted, which costs next to nothing."""
_TRACEPOINTS = "/sys/kernel/tracing/events"
_SEPARATOR = ";"
_NOT_COUNTED = "<not counted>"
_NOT_SUPPORTED = "<not supported>"


def perf_argv(pid: int, events: Sequence[str], output: str) -> tuple[str, ...]:
    """Return the command line that counts *events* of a process, until SIGINT, and then writes them to *output*."""
    return ("perf", "stat", "-x", _SEPARATOR, "-e", ",".join(events), "-o", output, "-p", str(pid))


def tracepoints(names: Sequence[str], directory: str = _TRACEPOINTS) -> tuple[str, ...]:
    """Return those of the tracepoints that are there for this user: perf refuses all events for one that is not."""
    return tuple(name for name in names if os.access(os.path.join(directory, *name.split(":"), "id"), os.R_OK))  # noqa: PTH118


def parse_perf(text: str) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return each event's count, None where there is none, and why there is none.

    What is counted in a unit has it behind its name, as in ``task-clock (msec)``. Before, there may be ``:u``: perf
    could count that event in user space alone.
    """
    counts: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for line in text.splitlines():
        fields = line.split(_SEPARATOR)
        if len(fields) < 3 or line.startswith("#"):  # noqa: PLR2004 - count, unit, event
            continue
        value, unit, name = fields[:3]
        event = f"{name} ({unit})" if unit else name
        if value == _NOT_SUPPORTED:
            counts[event], reasons[event] = None, "this processor, or what it is emulated by, has no such counter"
        elif value == _NOT_COUNTED:
            counts[event], reasons[event] = None, "perf had no time to count it"
        else:
            counts[event] = float(value)
    return counts, reasons
