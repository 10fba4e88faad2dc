"""Provisioning: work that a machine has behind it when it is handed out, done once and then kept as a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import HostError

if TYPE_CHECKING:  # recipes name what they provision when they are listed, long before there is a machine
    from vmtasks.guest import Guest
    from vmtasks.machine.launch import Berth, Origin
    from vmtasks.spec import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioning:
    """What is to be done to a machine before its user gets it, and what its result depends on."""

    name: str
    """What the machine has then, as in "a machine with NAME"."""
    key: str
    """Everything that the result depends on, but for the image and the form of the machine."""
    work: Callable[[Guest], bool]
    """Does it, and returns whether there is anything to keep."""


def of_packages(names: Sequence[str]) -> Provisioning | None:
    """Return what has a machine with Debian packages; None where there are none to install."""

    def install(guest: Guest) -> bool:
        from vmtasks.debian import apt

        apt.install(guest, names)
        return True

    if not names:
        return None
    return Provisioning(name=f"the packages {', '.join(names)}", key=f"packages: {' '.join(names)}", work=install)


def provisioned(provisioning: Provisioning, machine: Machine, berth: Berth, origin: Origin) -> Origin:
    """Return the checkpoint that has the work behind it; if there is none, *origin*, made fit for one.

    A machine that was to boot cold does: what is not to start from a template is not to start from another's work.
    """
    from vmtasks.cache import snapshots
    from vmtasks.machine.checkpoint import basis_of, key_of

    if origin.frozen is None or berth.baked is None:
        return origin
    from_scratch = replace(origin, forkable=True)
    key = key_of(berth.place.call(basis_of, machine, berth.baked), provisioning.key)
    kept = berth.place.call(snapshots.find, key)
    if kept is None:
        return from_scratch
    kept.touch()
    why = f"from the machine with {kept.name}, made {kept.made}"
    return replace(origin, frozen=kept, why=why, otherwise=from_scratch)


def provision(guest: Guest, provisioning: Provisioning) -> None:
    """Do the work, unless the guest has it behind it, and keep the machine for others to start from.

    That it cannot be kept costs the next one time, and is no error.
    """
    origin: Origin | None = guest.facts.get("origin")
    if origin is not None and origin.kind == "fork":
        return
    if not (provisioning.work(guest) and origin is not None and origin.forkable):
        return
    try:
        guest.checkpoint(provisioning.name, provisioning.key)
    except HostError as problem:
        text = f"cannot keep the machine with {provisioning.name}: {problem}"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
