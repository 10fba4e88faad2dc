"""What all samples come to together, also those that are not kept: peaks of memory, and the times of threads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from vmtasks.profile.sample import Sample, TaskTimes

_ThreadKey = tuple[int, int]


class Totals:
    """Running totals, a sample at a time; as large as the threads of one sample are many, however long it takes."""

    def __init__(self) -> None:
        self.resident_peak_bytes = 0
        self.own_peak_bytes = 0
        self._first: dict[_ThreadKey, float] | None = None
        self._live: dict[_ThreadKey, TaskTimes] = {}
        self._ended: dict[str, float] = {}
        """The processor time, by name, of threads that are in samples, but no more in the last one."""

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Self:
        """Return those of some samples, the oldest first."""
        totals = cls()
        for sample in samples:
            totals.add(sample)
        return totals

    def add(self, sample: Sample) -> None:
        """Take one in, which is younger than all before."""
        self.resident_peak_bytes = max(self.resident_peak_bytes, sample.memory.resident_bytes)
        self.own_peak_bytes = max(self.own_peak_bytes, sample.memory.own_bytes)
        live = {(thread.id, thread.began_ticks): thread for thread in sample.threads}
        if self._first is None:
            self._first = {key: thread.cpu_s for key, thread in live.items()}
        for key in self._live.keys() - live.keys():
            self._book(self._ended, key, self._live[key])
            self._first.pop(key, None)
        self._live = live

    def threads(self) -> dict[str, float]:
        """Return the processor time since the first sample of each thread that was in one; those of a name are one."""
        found = dict(self._ended)
        for key, thread in self._live.items():
            self._book(found, key, thread)
        return found

    def _book(self, times: dict[str, float], key: _ThreadKey, thread: TaskTimes) -> None:
        """Add what a thread took; one that was not there at first began with nothing."""
        times[thread.name] = times.get(thread.name, 0.0) + thread.cpu_s - (self._first or {}).get(key, 0.0)
