"""Samples of a machine's QEMU, taken by its supervisor, wherever that runs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vmtasks.deadline import Deadline
from vmtasks.errors import BootError
from vmtasks.profile.profile import Profile
from vmtasks.profile.sample_log import SampleLog
from vmtasks.profile.usage import Ending
from vmtasks.supervisor.client import SupervisorClient

_LIMIT_S = 10.0
"""How long its supervisor may take to begin a profile, and to end it: as long as QEMU and perf may take to answer."""
_numbers = itertools.count()


@contextmanager
def sampling(client: SupervisorClient, profile: Profile, log: SampleLog, interval_s: float) -> Iterator[None]:
    """Have the machine sampled while the block runs; a machine that ends in it ends its profile, and nothing else."""
    number = next(_numbers)
    try:
        log.add(client.request(Deadline.after(_LIMIT_S), do="profile", number=number, interval_s=interval_s))
    except BootError as problem:
        profile.break_off(str(problem))
        yield
        return
    with client.samples_to(log.add):
        try:
            yield
        finally:
            try:
                last = client.request(Deadline.after(_LIMIT_S), do="profiled", number=number)
            except BootError as problem:
                profile.break_off(f"the machine went before its profile ended: {problem}")
            else:
                began_s = time.thread_time()
                log.add(last["sample"])
                profile.end(
                    Ending(
                        perf=last["perf"],
                        pss_bytes=last["pss_bytes"],
                        cost_s=last["cost_s"] + time.thread_time() - began_s,
                        not_supported=last["not_supported"],
                    )
                )
