"""The guest of a machine that another process keeps: its verbs, over an ssh connection of our own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from vmtasks import events
from vmtasks.config.settings import HostSettings
from vmtasks.deadline import Deadline
from vmtasks.guest import Guest
from vmtasks.named.present import gone, present
from vmtasks.named.registry import GuestAddress, NamedMachine
from vmtasks.process.threads import check_interrupted
from vmtasks.spec import Access
from vmtasks.ssh.connect import Address, connect
from vmtasks.ssh.session import Session

CONNECT_LIMIT_S = 60.0
_TURN_S = 0.25


@contextmanager
def attached(machine: NamedMachine) -> Iterator[Guest]:
    """Yield the guest of a machine that has booted; the machine goes on after the block.

    :raise BootError: it does not let us in.
    :raise TimedOut: its time has passed, then or in the block.
    :raise ConnectionLost: it is gone otherwise.
    """
    address = address_of(machine)
    watch = partial(_watch, machine)
    with events.phase("ssh", machine=machine.name):
        connection = connect(address, Deadline.after(CONNECT_LIMIT_S), watch)
    session = Session(machine.name, connection, lambda deadline: connect(address, deadline, watch), watch)
    try:
        yield Guest(session, ssh_command=machine.ssh, address=address, heartbeat_s=HostSettings.load().heartbeat_s)
    finally:
        session.close()


def address_of(machine: NamedMachine) -> Address:
    """Return where the guest of a machine that has booted is reached."""
    place = machine.address
    if place is None:
        raise AssertionError("a machine that has booted has an address")
    access = Access(user=place.user, identity=_path(place.identity), known_hosts=_path(place.known_hosts))
    return Address(host=place.host, port=place.port, access=access)


def guest_address(address: Address) -> GuestAddress:
    """Return an address as it is written down; :func:`address_of` reads it."""
    access = address.access
    return GuestAddress(
        host=address.host,
        port=address.port,
        user=access.user,
        identity=str(access.identity) if access.identity else None,
        known_hosts=str(access.known_hosts) if access.known_hosts else None,
    )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _watch(machine: NamedMachine, wait_s: float) -> None:
    """Wait *wait_s* seconds, or less if the machine is gone, which is raised."""
    until_s = time.monotonic() + wait_s
    while True:
        check_interrupted()
        if present(machine.name).pid != machine.pid:
            raise gone(replace(machine, end="lost", why="another one has its name by now"))
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return
        threading.Event().wait(min(left_s, _TURN_S))
