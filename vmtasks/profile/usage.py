"""What samples come to: differences between the first and the last, and series of what lies between. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

from vmtasks.profile.sample import Counters, Sample
from vmtasks.profile.totals import Totals

ENDED = "threads that have ended"
"""What the process took beyond the threads that were seen: QEMU starts some for file operations, and ends them."""
_LEAST_S = 0.05
"""What clock ticks may differ by between a process and the sum of its threads."""
_DIGITS = 6
"""Behind the point of seconds: clocks tell no more, and a difference of two floats has many."""
Points = tuple[tuple[float, float], ...]
"""Seconds since the first sample, and a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What is counted once, for the whole time: None where it is not, and *not_supported* says why."""

    perf: Mapping[str, float | None] | None = None
    pss_bytes: int | None = None
    network: Mapping[str, Counters] | None = None
    cost_s: float = 0.0
    """The processor time that this and the keeping of samples took, in seconds."""
    not_supported: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a machine took of its host in some time; its fields are keys of result.json."""

    duration_s: float
    cpu_s: float
    """Of all threads of QEMU."""
    threads: Mapping[str, float]
    """Seconds of processor time by the thread's name, the busiest first."""
    faults: Mapping[str, int]
    """Page faults: ``minor``, and ``major``, which waited for a disk."""
    memory: Mapping[str, int | None]
    """``resident_peak_bytes``, ``resident_end_bytes``, ``own_peak_bytes`` and ``pss_bytes``, which is of the end."""
    storage: Counters | None
    block: Mapping[str, Counters] | None
    network: Mapping[str, Counters] | None
    kvm: Counters | None
    """Over all vCPUs."""
    perf: Mapping[str, float | None] | None
    cost_s: float
    """The processor time that the profile itself took, in seconds."""
    not_supported: Mapping[str, str]

    def as_fields(self) -> dict[str, Any]:
        """Return the fields by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def cost_percent(self) -> float:
        """The profile's own share of one core."""
        return 100 * self.cost_s / self.duration_s


def usage_of(samples: Sequence[Sample], ending: Ending, totals: Totals | None = None) -> Usage:
    """Return what samples come to, of which there are two or more.

    :param totals: those of all samples, where these are but some of them, the first and the last among them.
    """
    first, last = samples[0], samples[-1]
    totals = totals or Totals.of(samples)
    kvm = None if first.kvm is None or last.kvm is None else _summed_up(first.kvm, last.kvm)
    return Usage(
        duration_s=round(last.monotonic_s - first.monotonic_s, _DIGITS),
        cpu_s=round(last.process.cpu_s - first.process.cpu_s, _DIGITS),
        threads=by_thread(samples, totals),
        faults={
            "minor": last.process.minor_faults - first.process.minor_faults,
            "major": last.process.major_faults - first.process.major_faults,
        },
        memory={
            "resident_peak_bytes": totals.resident_peak_bytes,
            "resident_end_bytes": last.memory.resident_bytes,
            "own_peak_bytes": totals.own_peak_bytes,
            "pss_bytes": ending.pss_bytes,
        },
        storage=_difference(first.storage and first.storage._asdict(), last.storage and last.storage._asdict()),
        block=None if first.block is None or last.block is None else _by_drive(first.block, last.block),
        network=ending.network,
        kvm=kvm,
        perf=ending.perf,
        cost_s=round(last.cost_s - first.cost_s + ending.cost_s, _DIGITS),
        not_supported={**first.not_supported, **last.not_supported, **ending.not_supported},
    )


def by_thread(samples: Sequence[Sample], totals: Totals | None = None) -> dict[str, float]:
    """Return the processor time of each thread between the first and the last sample; those of one name are one.

    :param totals: as for :func:`usage_of`.
    """
    found = (totals or Totals.of(samples)).threads()
    rest_s = samples[-1].process.cpu_s - samples[0].process.cpu_s - sum(found.values())
    if rest_s > _LEAST_S:
        found[ENDED] = rest_s
    found = {name: round(seconds, _DIGITS) for name, seconds in found.items()}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def cpu_series(samples: Sequence[Sample], name: str = "") -> Points:
    """Return the share of one core, in percent, that threads of a name had between samples; empty: the whole process.

    Each value is at the end of the time that it is of.
    """
    return tuple(
        (_since(samples, after), 100 * max(0.0, _cpu_s(after, name) - _cpu_s(before, name)) / passed_s)
        for before, after, passed_s in _steps(samples)
    )


def memory_series(samples: Sequence[Sample]) -> dict[str, Points]:
    """Return the bytes that QEMU had in memory, and those of them that were its own."""
    return {
        "resident": tuple((_since(samples, one), float(one.memory.resident_bytes)) for one in samples),
        "its own": tuple((_since(samples, one), float(one.memory.own_bytes)) for one in samples),
    }


def block_series(samples: Sequence[Sample]) -> dict[str, Points]:
    """Return the bytes a second that the guest read and wrote, over all drives; nothing where they are not counted."""
    if any(sample.block is None for sample in samples):
        return {}
    return {
        label: tuple(
            (_since(samples, after), max(0, _block(after, name) - _block(before, name)) / passed_s)
            for before, after, passed_s in _steps(samples)
        )
        for label, name in (("read", "read_bytes"), ("written", "written_bytes"))
    }


def _steps(samples: Sequence[Sample]) -> Iterator[tuple[Sample, Sample, float]]:
    """Yield neighbours, and the seconds between them."""
    for before, after in pairwise(samples):
        if (passed_s := after.monotonic_s - before.monotonic_s) > 0:
            yield before, after, passed_s


def _since(samples: Sequence[Sample], sample: Sample) -> float:
    return sample.monotonic_s - samples[0].monotonic_s


def _cpu_s(sample: Sample, name: str) -> float:
    if not name:
        return sample.process.cpu_s
    return sum(thread.cpu_s for thread in sample.threads if thread.name == name)


def _block(sample: Sample, name: str) -> int:
    return sum(counters[name] for counters in (sample.block or {}).values())


def _difference(first: Mapping[str, int] | None, last: Mapping[str, int] | None) -> Counters | None:
    if first is None or last is None:
        return None
    return {name: value - first.get(name, 0) for name, value in last.items()}


def _by_drive(first: Mapping[str, Counters], last: Mapping[str, Counters]) -> dict[str, Counters]:
    return {drive: _difference(first.get(drive, {}), counters) or {} for drive, counters in last.items()}


def _summed_up(first: Sequence[Counters], last: Sequence[Counters]) -> Counters:
    names = sorted({name for counters in last for name in counters})
    return {name: sum(one.get(name, 0) for one in last) - sum(one.get(name, 0) for one in first) for name in names}
