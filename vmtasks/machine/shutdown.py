"""The end of a machine: at once, or after its guest has powered itself off."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from pathlib import Path

from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError, InfrastructureError, ShutdownTimedOut, TestFailed, TimedOut
from vmtasks.files import durable
from vmtasks.guest import Guest
from vmtasks.host.sparse import copy_extents
from vmtasks.machine.launch import PersistentDisk
from vmtasks.supervisor.client import SupervisorClient


def end_machine(
    guest: Guest, client: SupervisorClient, persistent_disk: PersistentDisk | None, *, listens: bool
) -> None:
    """End the machine at once, or let it power itself off, within a limit.

    :param listens: whether there is a kernel to power it off.
    :raise ShutdownTimedOut: it did not.
    """
    if persistent_disk is None:
        guest.close()
        client.stop()
        return
    listens = listens and persistent_disk.power_off_limit_s > 0  # one that is given no time need not be asked
    deadline = Deadline.after(persistent_disk.power_off_limit_s)
    if listens and not _asked_to_power_off(guest, persistent_disk):
        with suppress(BootError):  # it is gone already
            client.qmp("system_powerdown")
    guest.close()
    client.stop(grace_s=deadline.left_s if listens else 0.0, keep=True)
    last = client.final_event()
    if last["status"] is not None:  # else its supervisor was killed, and it is not known what the disk is worth
        for work, place in persistent_disk.move:
            _move(work, place)
    if not (last["by_itself"] and last["status"] == 0):
        limit = f"within {persistent_disk.power_off_limit_s:g} s" if listens else "any more"
        raise ShutdownTimedOut(f"{guest.name} did not power itself off {limit}: its disk may not be whole")


def _asked_to_power_off(guest: Guest, persistent_disk: PersistentDisk) -> bool:
    if persistent_disk.power_off is None:
        return False
    try:
        return guest.run(persistent_disk.power_off, timeout_s=persistent_disk.power_off_limit_s, warn=True).ok
    except (InfrastructureError, TestFailed, TimedOut):  # a guest that no longer listens still has a power button
        return False


def _move(work: Path, place: Path) -> None:
    """Move a disk, to another file system if need be; *place* is a whole disk at every moment, the old or the new."""
    try:
        if place.exists():  # its permissions are not for us to change
            shutil.copymode(place, work)
        try:
            durable.rename(work, place)
        except OSError as problem:
            if problem.errno != errno.EXDEV:
                raise
            beside = place.with_name(f".{place.name}.part")
            beside.unlink(missing_ok=True)
            copy_extents(str(work), str(beside))
            shutil.copymode(work, beside)
            durable.rename(beside, place)
            work.unlink()
    except OSError as problem:
        raise HostError(f"cannot move {work} to {place}: {problem.strerror}") from problem
