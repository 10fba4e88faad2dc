"""One look at a QEMU: counters as they stand, of which two make a difference. JSON has them under the same names.

What could not be read is None, and :attr:`Sample.not_supported` says why: a 0 is always one that was counted. Named
tuples, because the supervisor takes them, which waits for few imports.
"""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

Counters = dict[str, int]
_MOST = 1 << 64
"""What no counter of a kernel's or of QEMU's reaches."""


class TaskTimes(NamedTuple):
    """What a thread, or a whole process, has taken since it began."""

    id: int
    name: str
    began_ticks: int
    """When it began, in clock ticks after the host's boot: with the id, it tells threads apart."""
    user_s: float
    system_s: float
    minor_faults: int
    major_faults: int
    """Page faults that had to wait for a disk."""

    @property
    def cpu_s(self) -> float:
        """Its time on a processor, in seconds."""
        return self.user_s + self.system_s


class MemoryUse(NamedTuple):
    """How much of a process is in memory."""

    resident_bytes: int
    """All of it: also what it shares with other machines, as the memory of a template."""
    own_bytes: int
    """What belongs to no file: a template's pages count once the guest has written to them."""


class StorageUse(NamedTuple):
    """What a process had the host's disks read and write; what came from the host's page cache does not count."""

    read_bytes: int
    written_bytes: int


class Sample(NamedTuple):
    """All counters at one moment."""

    at_s: float
    """Seconds since the epoch."""
    monotonic_s: float
    """The same on a clock that nobody sets, of the host that runs QEMU."""
    process: TaskTimes
    """The process as a whole, with threads that have ended."""
    threads: tuple[TaskTimes, ...]
    memory: MemoryUse
    storage: StorageUse | None
    block: Mapping[str, Counters] | None
    """What the guest asked of each drive of its machine."""
    kvm: tuple[Counters, ...] | None
    """What KVM counts of each vCPU."""
    cost_s: float
    """The processor time that all samples before this one took, in seconds."""
    not_supported: Mapping[str, str]
    """Why what is None could not be counted, by its name."""

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        data = self._asdict()
        data["process"] = self.process._asdict()
        data["threads"] = [thread._asdict() for thread in self.threads]
        data["memory"] = self.memory._asdict()
        data["storage"] = self.storage and self.storage._asdict()
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Sample:
        """Return the sample that :meth:`as_data` made the data of.

        :raise ValueError: that is no such data.
        """
        try:
            sample = cls(
                **{
                    **data,
                    "process": TaskTimes(**data["process"]),
                    "threads": tuple(TaskTimes(**thread) for thread in data["threads"]),
                    "memory": MemoryUse(**data["memory"]),
                    "storage": None if data["storage"] is None else StorageUse(**data["storage"]),
                    "kvm": None if data["kvm"] is None else tuple(data["kvm"]),
                }
            )
            is_one = _has_its_kinds(sample)
        except (AttributeError, KeyError, TypeError) as problem:
            raise ValueError(f"no sample: {problem!r}") from problem
        if not is_one:
            raise ValueError("no sample: a value of it is of another kind, or larger than any counter")
        return sample


def _has_its_kinds(sample: Sample) -> bool:
    """Tell whether all values are numbers and texts as they are to be: another host may have sent them.

    :raise AttributeError: there is no table where one is to be.
    :raise TypeError: the same.
    """
    tasks = (sample.process, *sample.threads)
    times = (
        sample.at_s,
        sample.monotonic_s,
        sample.cost_s,
        *(time for one in tasks for time in (one.user_s, one.system_s)),
    )
    drives = {} if sample.block is None else sample.block
    counters = [
        *sample.memory,
        *(sample.storage or ()),
        *(counter for one in tasks for counter in (one.id, one.began_ticks, one.minor_faults, one.major_faults)),
        *(counter for table in (*drives.values(), *(sample.kvm or ())) for counter in table.values()),
    ]
    texts = (*(one.name for one in tasks), *sample.not_supported.keys(), *sample.not_supported.values())
    return (
        all(isinstance(time, int | float) and -_MOST < time < _MOST for time in times)
        and all(isinstance(counter, int) and -_MOST < counter < _MOST for counter in counters)
        and all(isinstance(text, str) for text in texts)
    )
