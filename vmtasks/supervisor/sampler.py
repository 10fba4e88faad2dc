"""Samples of a QEMU, for as long as a caller profiles its machine: taken here, because /proc is where QEMU runs.

A request ``profile`` begins a profile under a number of the caller's choice, every ``interval_s`` seconds, and is
answered with a sample; ``profiled`` ends it, and is answered with the last sample and with what is counted once.
Between them ``sample`` events come. Several profiles may run: each sample is for all. Standard library only; what it
imports, no machine waits for that nobody profiles.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from vmtasks.qemu.qmp import Qmp, QmpError
from vmtasks.supervisor.control import emit, has_room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vmtasks.profile.sample import Counters, Sample
    from vmtasks.supervisor.perf_stat import PerfStat

_ANSWER_LIMIT_S = 1.0
"""How long QEMU may take to answer: a sample is not worth that a machine's other messages wait."""
_LEAST_INTERVAL_S = 0.05
_KVM_THREAD = "/KVM"
"""What the names of QEMU's vCPU threads end in where KVM runs them (``debug-threads=on``)."""


class Sampler:
    """Takes samples of one QEMU.

    :param pid: QEMU's.
    :param qmp: its control line; what it sends of its own accord is the caller's to look at afterwards.
    :param directory: the machine's, for files of perf's.
    """

    def __init__(self, pid: int, qmp: Qmp, directory: str) -> None:
        self._pid = pid
        self._qmp = qmp
        self._directory = directory
        self._intervals_s: dict[int, float] = {}
        self._perfs: dict[int, PerfStat] = {}
        self._next_s = 0.0
        self._cost_s = 0.0
        self._has_kvm: bool | None = None
        """Whether QEMU counts with KVM; None: it has not been asked."""

    def left_s(self, at_most_s: float) -> float:
        """Return the seconds until the next sample is due, *at_most_s* where there are more or none is."""
        return min(at_most_s, max(0.0, self._next_s - time.monotonic())) if self._intervals_s else at_most_s

    def tick(self) -> bool:
        """Send a sample if one is due and the caller reads them, and return whether QEMU was asked for it."""
        now_s = time.monotonic()
        if not self._intervals_s or now_s < self._next_s:
            return False
        self._next_s = now_s + min(self._intervals_s.values())
        if not has_room():
            return False
        began_s = time.thread_time()
        with suppress(OSError):  # QEMU has just ended, which is noticed elsewhere
            emit("sample", sample=self._sample().as_data())
        self._cost_s += time.thread_time() - began_s
        return True

    def begin(self, number: int, interval_s: float) -> dict[str, Any]:
        """Begin a profile and return its first sample.

        :raise OSError: QEMU has ended.
        """
        from vmtasks.supervisor.perf_stat import PerfStat

        began_s = time.thread_time()
        sample = self._sample()
        is_kvm = any(thread.name.endswith(_KVM_THREAD) for thread in sample.threads)
        self._perfs[number] = PerfStat(self._pid, os.path.join(self._directory, f"perf-{number}"), is_kvm=is_kvm)
        self._intervals_s[number] = max(interval_s, _LEAST_INTERVAL_S)
        self._next_s = time.monotonic() + min(self._intervals_s.values())
        self._cost_s += time.thread_time() - began_s
        return sample.as_data()

    def end(self, number: int) -> dict[str, Any]:
        """End a profile; return its last sample, and what was counted once.

        :raise OSError: QEMU has ended, or there is no such profile.
        """
        from vmtasks.profile.procfs import NotCounted, pss_bytes

        if self._intervals_s.pop(number, None) is None:
            raise OSError(f"cannot end the profile {number}: it has not begun with this QEMU")
        began_s = time.thread_time()
        last: dict[str, Any] = {"sample": self._sample().as_data(), "pss_bytes": None, "not_supported": {}}
        perf = self._perfs.pop(number)
        perf.stop()
        try:
            last["pss_bytes"] = pss_bytes(self._pid)
        except NotCounted as problem:
            last["not_supported"]["pss"] = str(problem)
        last["perf"], reasons = perf.counts()
        last["not_supported"] |= reasons
        last["cost_s"] = perf.cost_s + time.thread_time() - began_s
        return last

    def close(self) -> None:
        """End all profiles without a word."""
        for perf in self._perfs.values():
            perf.stop()
        self._intervals_s.clear()
        self._perfs.clear()

    def _sample(self) -> Sample:
        """Take a sample.

        :raise OSError: QEMU has ended.
        """
        from vmtasks.profile import procfs
        from vmtasks.profile.sample import Sample

        not_supported: dict[str, str] = {}
        try:
            storage = procfs.storage(self._pid)
        except procfs.NotCounted as problem:
            storage, not_supported["storage"] = None, str(problem)
        block, kvm = self._block(not_supported), self._kvm(not_supported)
        return Sample(
            at_s=time.time(),
            monotonic_s=time.monotonic(),
            process=procfs.process(self._pid),
            threads=procfs.threads(self._pid),
            memory=procfs.memory(self._pid),
            storage=storage,
            block=block,
            kvm=kvm,
            cost_s=self._cost_s,
            not_supported=not_supported,
        )

    def _block(self, not_supported: dict[str, str]) -> dict[str, Counters] | None:
        from vmtasks.profile.qemu_stats import BLOCK_QUERY, block_counters

        try:
            return block_counters(self._qmp.execute(BLOCK_QUERY, timeout_s=_ANSWER_LIMIT_S))
        except QmpError as problem:
            not_supported["block"] = str(problem)
            return None

    def _kvm(self, not_supported: dict[str, str]) -> tuple[Counters, ...] | None:
        from vmtasks.profile.qemu_stats import KVM_ARGUMENTS, KVM_QUERY, NO_KVM, kvm_counters

        if self._has_kvm is False:  # it will not come to have it, so that it need not be asked again
            not_supported["kvm"] = NO_KVM
            return None
        try:
            found = kvm_counters(self._qmp.execute(KVM_QUERY, KVM_ARGUMENTS, timeout_s=_ANSWER_LIMIT_S))
        except QmpError as problem:
            not_supported["kvm"] = str(problem)
            return None
        self._has_kvm = bool(found)
        if not found:
            not_supported["kvm"] = NO_KVM
        return found or None
