"""What a guest of QEMU's is controlled and looked at by, through its supervisor: its console, its power, its disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from vmtasks.deadline import Deadline
from vmtasks.errors import BootError
from vmtasks.guest.console import GuestConsole
from vmtasks.guest.power import Power
from vmtasks.machine.alarm_watch import ConsoleAlarms
from vmtasks.machine.direct_boots import DirectBoots
from vmtasks.qemu.argv import TRANSFER_DISK
from vmtasks.supervisor.client import SupervisorClient
from vmtasks.supervisor.console import CONSOLE_LIMIT_BYTES
from vmtasks.supervisor.watch import MachineWatch

ANSWER_LIMIT_S = 3.0
"""How long QEMU may take to report that it runs, on a host that is well."""


def guest_console(
    machine: str, log: Path, client: SupervisorClient, watch: MachineWatch, alarms: ConsoleAlarms
) -> GuestConsole:
    """Return the console of a machine that is called *machine*."""
    return GuestConsole(
        machine,
        log,
        watch=watch.watch,
        type_in=partial(_type_in, client),
        from_bytes=alarms.from_bytes,
        limit_bytes=CONSOLE_LIMIT_BYTES,
    )


def power_of(watch: MachineWatch, direct: DirectBoots | None = None) -> Power:
    """Return the hand on a machine's power switch.

    :param direct: what it boots with, where that can be changed.
    """

    def reset(_limit: Deadline) -> None:
        watch.reset()  # which is a matter of a moment

    return Power(reset=reset, cycle=reset, wait_off=watch.wait_off, direct=direct)  # QEMU ends with "off"


def runs(client: SupervisorClient) -> bool:
    """Tell whether QEMU answers, and the machine runs, or has come to an end by itself."""
    try:
        status = client.qmp("query-status", timeout_s=ANSWER_LIMIT_S)["status"]
        return status in ("running", "shutdown", "guest-panicked")
    except BootError:
        return False


def moved_bytes(client: SupervisorClient) -> int:
    """Return how much the guest has read from the transfer disk, and written to it; 0 where QEMU does not report it."""
    try:
        found = [one["stats"] for one in client.qmp("query-blockstats") if one.get("device") == TRANSFER_DISK]
    except BootError:  # it is for show: if the machine is gone, its watch reports that
        return 0
    return sum(int(stats["rd_bytes"]) + int(stats["wr_bytes"]) for stats in found)


def _type_in(client: SupervisorClient, data: bytes) -> int:
    """Type on the console, and return how many bytes the guest has taken."""
    return int(client.request(Deadline.after(ANSWER_LIMIT_S), do="type", text=data.decode("latin-1")))
