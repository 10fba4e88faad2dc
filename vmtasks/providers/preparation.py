"""Preparation: work that a machine has behind it when it is handed out, done once and then kept as a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import HostError

if TYPE_CHECKING:  # recipes name what they prepare when they are listed, long before there is a machine
    from vmtasks.guest import Guest
    from vmtasks.machine.launch import BootSource, LaunchConfig
    from vmtasks.spec import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What is to be done to a machine before its user gets it, and what its result depends on."""

    name: str
    """What the machine has then, as in "a machine with NAME"."""
    key: str
    """Everything that the result depends on, but for the image and the form of the machine."""
    run: Callable[[Guest], bool]
    """Does it, and returns whether there is anything to keep."""

    @classmethod
    def of_packages(cls, names: Sequence[str]) -> Preparation | None:
        """Return that a machine has Debian packages; None where there are none to install."""

        def install(guest: Guest) -> bool:
            from vmtasks.debian import apt

            apt.install(guest, names)
            return True

        if not names:
            return None
        return cls(name=f"the packages {', '.join(names)}", key=f"packages: {' '.join(names)}", run=install)

    @classmethod
    def joined(cls, *parts: Preparation | None) -> Preparation | None:
        """Return several as one, done in their order; None where there are none."""
        given = [part for part in parts if part]

        def run(guest: Guest) -> bool:
            to_keep = [part.run(guest) for part in given]
            return any(to_keep)

        match given:
            case []:
                return None
            case [one]:
                return one
        names, keys = " and ".join(part.name for part in given), "\n".join(part.key for part in given)
        return cls(name=names, key=keys, run=run)


def prepared_source(preparation: Preparation, machine: Machine, launch: LaunchConfig, source: BootSource) -> BootSource:
    """Return the checkpoint that has the work behind it; if there is none, *source*, made fit for one.

    A machine that was to boot cold does: what is not to start from a template is not to start from another's work.
    """
    from vmtasks.cache import snapshots
    from vmtasks.machine.checkpoint import fingerprint, key_of

    if source.snapshot is None or launch.baked is None:
        return source
    from_scratch = replace(source, forkable=True)
    key = key_of(launch.place.call(fingerprint, machine, launch.baked), preparation.key)
    kept = launch.place.call(snapshots.find, key)
    if kept is None:
        return from_scratch
    kept.touch()
    reason = f"of the machine with {kept.name}, made {kept.made}"
    return replace(source, snapshot=kept, reason=reason, fallback=from_scratch)


def prepare(guest: Guest, preparation: Preparation) -> None:
    """Do the work, unless the guest has it behind it, and keep the machine for others to start from.

    That it cannot be kept costs the next one time, and is no error.
    """
    from vmtasks.machine.instance import QemuGuest

    source = guest.source if isinstance(guest, QemuGuest) else None
    if source is not None and source.kind == "fork":
        return
    if not (preparation.run(guest) and source is not None and source.forkable):
        return
    try:
        guest.checkpoint(preparation.name, preparation.key)
    except HostError as problem:
        text = f"cannot keep the machine with {preparation.name}: {problem}"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
