"""Several machines at once: how soon all run, and how much memory each of them takes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measurement import Rows, Samples, at_most
from vmtasks import events
from vmtasks.errors import HostError
from vmtasks.guest import Guest
from vmtasks.host.lease import leases
from vmtasks.process.threads import parallel
from vmtasks.qemu.argv import SSH_PORT

IMAGE = "bookworm"
CROWD = (1, 2, 4, 8)
_CROWD_RUNS = 3
EIGHT_RUN_AT_MOST_S = 0.8
EIGHT_PSS_AT_MOST_MIB = 150.0
_LIMIT_S = 120.0


def crowds() -> Rows:
    """Measure several clones at once: until all run, and the memory of each."""
    crowd(1)  # its template is there from now on
    for size in CROWD:
        taken = [crowd(size) for _ in range(_CROWD_RUNS)]
        running_s, pss_mib = tuple(one for one, _ in taken), tuple(mib for _, all_ in taken for mib in all_)
        running_limit_s, pss_limit_mib = (
            (EIGHT_RUN_AT_MOST_S, EIGHT_PSS_AT_MOST_MIB) if size == CROWD[-1] else (None, None)
        )
        title = f"{size} clones at once run" if size > 1 else "one clone runs, measured like the next ones"
        yield at_most(title, running_limit_s, running_s)
        yield at_most(f"memory (PSS) of each of {size}", pss_limit_mib, pss_mib, unit="MiB")


def crowd(size: int) -> tuple[float, Samples]:
    """Start so many copies at once; return how long it took until all ran, and the memory of each in MiB."""
    from vmtasks import boot

    all_there = threading.Barrier(size)
    loaded_s: list[float] = []
    pss_mib: list[float] = []

    def one() -> None:
        try:
            with boot(IMAGE, purpose="a measurement of a crowd") as guest:
                guest.succeed(["true"])
                all_there.wait(_LIMIT_S)
                pss_mib.append(pss_mib_of(guest))
                all_there.wait(_LIMIT_S)
        except threading.BrokenBarrierError as problem:
            raise HostError(f"cannot have {size} machines at once: not all of them came up") from problem
        except BaseException:
            all_there.abort()
            raise

    def notice(event: events.Event) -> None:
        if isinstance(event, events.PhaseEnded) and event.phase == "restore":
            loaded_s.append(time.monotonic())

    with room_for(size), events.listening(notice), events.phase("crowd", detail=f"{size} at once"):
        began_s = time.monotonic()
        parallel(*[one] * size)
    return max(loaded_s) - began_s, tuple(pss_mib)


def pss_mib_of(guest: Guest) -> float:
    """Return the memory of the guest's QEMU, what it shares with others in parts (proc(5), smaps_rollup)."""
    port = guest.address and guest.address.port
    pid = next(one.info["qemu_pid"] for one in leases() if one.info.get("ports", {}).get(str(SSH_PORT)) == port)
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


@contextmanager
def room_for(number: int) -> Iterator[None]:
    """Have room for so many machines, for this process and as long as the block lasts."""
    with environment("VMTASKS_SLOTS", str(number)), environment("VMTASKS_SLOTS_MEMORY_MIB", str(number * 1024)):
        yield


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Have a variable in the environment of this process for as long as the block lasts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
