"""Save a running machine into files, and start another from them: QEMU's migration, without moving the memory.

The guest's memory is a file that QEMU maps. Shared, what the guest writes is in the file, and saving the machine
leaves only its devices to be written down: well under a megabyte. Mapped privately by the next machine, the same
file is that machine's memory at once, and its own writes stay its own.

Standard library only, because it rides with the supervisor.
Source: QEMU's docs/devel/migration.rst and the capability ``x-ignore-shared`` of qapi/migration.json.
"""

from __future__ import annotations

import os
import subprocess
import time

from vmtasks.host.sparse import copy_extents
from vmtasks.qemu.qmp import Qmp, QmpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Wait = Callable[[float], None]
    """Waits so many seconds for QEMU to send something; raises when the caller no longer wants the machine."""

DISK = "disk"
"""The name that QEMU's command line gives to the drive."""
_STATE_FD = "state"
_LIMIT_S = 10.0
_CAPABILITIES = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]


def save(qmp: Qmp, order: dict[str, Any], wait: Wait) -> float:
    """Write a running machine down; return the seconds that it stood still.

    The order's keys: ``link`` (pairs of a file that QEMU writes and a name of it that lasts), ``prepare`` (commands to
    run while the machine still does: they make the overlay), ``state`` (file to write), ``copy`` (pairs of sparse
    files, the second to be made of the first while the machine stands), ``overlay`` (the disk that it goes on with;
    null: it stays as it is, and has nothing but its end before it).

    :raise OSError: the disk is full, or QEMU could not; a machine that was to go on does, on the disk it had.
    """
    for written, lasting in order["link"]:
        os.link(written, lasting)
    for command in order["prepare"]:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    began_s = time.monotonic()
    qmp.execute("stop", timeout_s=_LIMIT_S)
    try:
        _migrate(qmp, "migrate", os.open(order["state"], os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), wait)
        for source, target in order["copy"]:
            copy_extents(source, target)
        if order["overlay"]:
            snapshot = {"device": DISK, "snapshot-file": order["overlay"], "format": "qcow2", "mode": "existing"}
            qmp.execute("blockdev-snapshot-sync", snapshot, timeout_s=_LIMIT_S)
    finally:
        if order["overlay"]:
            qmp.execute("cont", timeout_s=_LIMIT_S)
    return time.monotonic() - began_s


def load(qmp: Qmp, state: str, wait: Wait, note: tuple[str, int, str] | None = None) -> None:
    """Give a state to a machine that waits for one (``-incoming defer``), and let it go on.

    :param note: a file of the guest's, where in it, and what to write there together with the time, at the last moment.
    :raise QmpError: QEMU refuses it: it is damaged, or from another machine.
    :raise OSError: there is no such file.
    """
    _migrate(qmp, "migrate-incoming", os.open(state, os.O_RDONLY | os.O_CLOEXEC), wait)
    if note:
        path, at, text = note
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(fd, f"{text} {time.time():.6f}\n".encode(), at)
        finally:
            os.close(fd)
    qmp.execute("cont", timeout_s=_LIMIT_S)


def _migrate(qmp: Qmp, command: str, fd: int, wait: Wait) -> None:
    """Have QEMU read or write a state through *fd*, which is closed, and see it done."""
    try:
        qmp.execute("migrate-set-capabilities", {"capabilities": _CAPABILITIES}, timeout_s=_LIMIT_S)
        qmp.execute("getfd", {"fdname": _STATE_FD}, timeout_s=_LIMIT_S, fd=fd)
    finally:
        os.close(fd)
    qmp.execute(command, {"uri": f"fd:{_STATE_FD}"}, timeout_s=_LIMIT_S)
    deadline_s = time.monotonic() + _LIMIT_S
    while (status := _status(qmp)) != "completed":
        if status == "failed":
            raise QmpError(f"QEMU's {command} failed")
        if (left_s := deadline_s - time.monotonic()) <= 0:
            raise QmpError(f"QEMU's {command} did not end in {_LIMIT_S:g} s")
        wait(left_s)
        qmp.pump()


def _status(qmp: Qmp) -> str:
    """Return the last status of the migration in QEMU's events, and take those events away."""
    statuses = [event["data"]["status"] for event in qmp.events if event["event"] == "MIGRATION"]
    qmp.events[:] = [event for event in qmp.events if event["event"] != "MIGRATION"]
    return statuses[-1] if statuses else ""
