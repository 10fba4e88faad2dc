"""What a profile costs the host, while it counts what a machine does."""

from __future__ import annotations

import os
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measurement import Rows, at_most, bake, in_turn
from vmtasks import events
from vmtasks.guest import Guest
from vmtasks.host.lease import leases
from vmtasks.profile import procfs
from vmtasks.qemu.argv import SSH_PORT

COST_AT_MOST_PERCENT = 2.0
_IMAGE = "bookworm"
_SPAN_S = 20.0
"""How long a profile lasts: its beginning and its end are part of its cost, and clock ticks are to be few of it."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Payers:
    """The processes that a profile makes work."""

    supervisor_pid: int
    qemu_pid: int

    def cpu_s(self) -> float:
        """Return their processor time: the supervisor's with its perf, ours, and that of QEMU's thread that answers."""
        fields = Path(f"/proc/{self.supervisor_pid}/stat").read_text().rpartition(") ")[2].split()
        supervisor_s = sum(map(int, fields[11:15])) * _TICK_S  # its own, and of its children that have ended: proc(5)
        qemu_s = sum(thread.cpu_s for thread in procfs.threads(self.qemu_pid) if thread.id == self.qemu_pid)
        return supervisor_s + qemu_s + time.process_time()


def cost(runs: int) -> Rows:
    """Measure the processor time that a profile of an idle machine takes, beyond that of the same time without one."""
    from vmtasks import boot

    bake(_IMAGE)
    with boot(_IMAGE, purpose="a measurement of profiles") as guest, events.phase("profile"):
        payers = _payers_of(guest)
        ours, against = in_turn(
            runs,
            lambda: share_percent(payers, guest.profiled(), _SPAN_S),
            lambda: share_percent(payers, nullcontext(), _SPAN_S),
        )
    more = tuple(one - other for one, other in zip(ours, against, strict=True))
    yield at_most("a profile's own processor time, of one core", COST_AT_MOST_PERCENT, more, unit="%")


def share_percent(payers: Payers, block: AbstractContextManager[object], span_s: float) -> float:
    """Return the share of one core that the payers had while a block lasted, from before its beginning to its end."""
    began_s, cpu_s = time.monotonic(), payers.cpu_s()
    with block:
        threading.Event().wait(span_s)
    return 100 * (payers.cpu_s() - cpu_s) / (time.monotonic() - began_s)


def _payers_of(guest: Guest) -> Payers:
    port = guest.address and guest.address.port
    lease = next(one for one in leases() if one.info.get("ports", {}).get(str(SSH_PORT)) == port)
    return Payers(supervisor_pid=lease.info["supervisor_pid"], qemu_pid=lease.info["qemu_pid"])
