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
    before: Preparation | None = None
    """What is done first, and kept by itself as well: others that begin so go on from there."""

    @property
    def steps(self) -> tuple[Preparation, ...]:
        """What is done, in its order; this is the last of it."""
        return (*(self.before.steps if self.before else ()), self)

    @property
    def whole_key(self) -> str:
        """Everything that the result of all steps depends on."""
        return "\n".join(step.key for step in self.steps)

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
        """Return several as one, done in their order and kept together; None where there are none."""
        given = [step for part in parts if part for step in part.steps]

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
    """Return the checkpoint that has most of the work behind it; if there is none, *source*. Both are fit for another.

    A machine that was to boot cold does: what is not to start from a template is not to start from another's work.
    """
    from vmtasks.cache import snapshots
    from vmtasks.machine.checkpoint import fingerprint, key_of

    if source.snapshot is None or launch.baked is None:
        return source
    from_scratch = replace(source, forkable=True)
    basis = launch.place.call(fingerprint, machine, launch.baked)
    for step in reversed(preparation.steps):
        kept = launch.place.call(snapshots.find, key_of(basis, step.whole_key))
        if kept is not None:
            kept.touch()
            return replace(
                source,
                snapshot=kept,
                reason=f"of the machine with {kept.name}, made {kept.made}",
                forkable=source.forkable or step is not preparation,
                prepared=step.whole_key,
                fallback=from_scratch,
            )
    return from_scratch


def prepare(guest: Guest, preparation: Preparation) -> None:
    """Do what the guest does not have behind it of the work, and keep the machine for others to start from.

    That it cannot be kept costs the next one time, and is no error.
    """
    from vmtasks.machine.instance import QemuGuest

    source = guest.source if isinstance(guest, QemuGuest) else None
    for step in _left(preparation, source):
        if step.run(guest) and source is not None and source.forkable:
            _keep(guest, step)


def _left(preparation: Preparation, source: BootSource | None) -> Sequence[Preparation]:
    """Return the steps that are to be done in a machine which has started from *source*; None: nothing is known."""
    steps = preparation.steps
    if source is None or source.kind != "fork":
        return steps
    done = [number for number, step in enumerate(steps, 1) if step.whole_key == source.prepared]
    return steps[done[0] :] if done else ()  # a checkpoint of somebody's is as it was wanted


def _keep(guest: Guest, step: Preparation) -> None:
    try:
        guest.checkpoint(step.name, step.whole_key)
    except HostError as problem:
        text = f"cannot keep the machine with {step.name}: {problem}"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
