"""Which named machine is meant, or in one sentence why there is none."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

from vmtasks.config.here import task_line
from vmtasks.errors import ConnectionLost, HostError, TimedOut, UsageError, VmtasksError, did_you_mean
from vmtasks.host import slots
from vmtasks.named import registry
from vmtasks.named.registry import NamedMachine
from vmtasks.named.words import expect_name, shown_s
from vmtasks.process.user import user_name

_TURN_S = 0.25
PURPOSE = "up {}"
"""What a named machine is for, in the words that all users of its host read."""


def present(name: str) -> NamedMachine:
    """Return a machine that is there.

    :raise UsageError: there is none, or it is another user's.
    :raise TimedOut: its time has passed.
    :raise ConnectionLost: it is gone otherwise.
    """
    expect_ours(expect_name(name))
    machine = registry.find(name)
    if machine is None:
        raise _unknown(name)
    if machine.end or not machine.is_alive:
        raise gone(machine)
    return machine


def ready(name: str) -> NamedMachine:
    """Return a machine that is there and has booted.

    :raise HostError: it is still booting.
    :raise VmtasksError: as of :func:`present`.
    """
    machine = present(name)
    if machine.address is None:
        raise HostError(f"the machine '{name}' is not there yet: it boots", hint="it is there once its `up` has ended")
    return machine


def wait_until_ready(name: str) -> NamedMachine:
    """Return a machine once it has booted.

    :raise VmtasksError: as of :func:`present`, also while it boots.
    """
    while (machine := present(name)).address is None:
        threading.Event().wait(_TURN_S)
    return machine


def expect_ours(name: str) -> None:
    """See that what is written down of a machine is ours: a cache may be several users'.

    :raise UsageError: it is another user's.
    """
    with suppress(FileNotFoundError):
        if (owner := registry.directory_of(name).stat().st_uid) != os.geteuid():
            raise _of_another(name, user_name(owner))


def gone(machine: NamedMachine) -> VmtasksError:
    """Return the error of a machine that is not there any more."""
    anew = f"{task_line(f'up {machine.name}')} starts it anew"
    if machine.end == "expired":
        return TimedOut(
            f"the machine '{machine.name}' is gone: its time to live of {shown_s(machine.ttl_s)} has passed"
            + (f" at {clock(machine.until_s)}" if machine.until_s else ""),
            hint=f"{anew}; --ttl gives it longer",
        )
    why = machine.why or ("it was ended" if machine.end == "down" else "nobody wrote down why")
    return ConnectionLost(f"the machine '{machine.name}' is gone: {why}", hint=anew)


def clock(at_s: float) -> str:
    """Return a point in time as people here read it: the hour, and the day if it is another one."""
    then = time.localtime(at_s)
    is_today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", then)


def _unknown(name: str) -> UsageError:
    there = [machine.name for machine in registry.machines() if machine.is_alive]
    if user := _other_user_of(name):
        return _of_another(name, user)
    yours = f"yours are {', '.join(there)}" if there else "you have none"
    asked = did_you_mean(name, there)
    hint = f"{yours}; {task_line(f'up {name}')} starts one of this name"
    return UsageError(f"there is no machine '{name}'", hint=f"{asked} {hint}".strip())


def _of_another(name: str, user: str) -> UsageError:
    return UsageError(
        f"cannot use the machine '{name}': it is {user}'s",
        hint=f"named machines are their user's alone; {task_line(f'up {name}')} starts one of yours",
    )


def _other_user_of(name: str) -> str:
    """Return who else has a machine of that name on this host, by what all users may read; empty: nobody."""
    with suppress(slots.SlotsUnavailableError):
        for ticket in slots.tickets():
            if ticket.purpose == PURPOSE.format(name) and ticket.uid != os.geteuid():
                return ticket.user
    return ""
