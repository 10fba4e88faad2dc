"""The one seam between what is asked of a machine and whoever has one: QEMU here, QEMU there, a host, a cloud."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from vmtasks import events
from vmtasks.spec import Checkpoint, Network

if TYPE_CHECKING:
    from vmtasks.guest import Guest
    from vmtasks.providers.preparation import Provisioning


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a caller may ask of a machine; what is not asked for, the image and the host's settings say."""

    name: str = ""
    """What to call it; the image's name by default."""
    on: str = ""
    """Where it is to run; empty: where the host's settings say."""
    memory_mib: int | None = None
    cpus: int | None = None
    network: Network | None = None
    accel: Literal["auto", "kvm", "tcg"] | None = None
    attempts: int | None = None
    cold: bool = False
    """Boot from the disk, whatever templates there are."""
    forkable: bool = False
    """Whether ``guest.checkpoint`` is to serve; it costs some tenths of a second at the start."""
    extra: tuple[str, ...] = ()
    """More arguments for QEMU."""


def note_ignored(wishes: Wishes, names: Sequence[str], *, machine: str, place: str, why: str) -> None:
    """Say which of the wishes of these *names* was made, though they count for nothing at *place*."""
    if ignored := [name for name in names if getattr(wishes, name)]:
        text = f"{' and '.join(ignored)} count for nothing on {place}: {why}"
        events.emit(events.Note(machine=machine, text=text, level="warning"))


class Provider(Protocol):
    """Has machines to give, one at a time to each who asks, and takes every one of them back."""

    def machine(
        self,
        image: str | Checkpoint,
        wishes: Wishes,
        *,
        provisioning: Provisioning | None = None,
        what: str = "",
        logs: Path | None = None,
    ) -> AbstractContextManager[Guest]:
        """Return a block in which there is a clean machine, and after which there is none, however it is left.

        :param image: the name of an image, or a checkpoint of this provider's.
        :param provisioning: what :func:`vmtasks.providers.preparation.provision` is called with first in the block; a
            provider that can keep machines may hand out one that has it behind it.
        :param what: what it is for, in the words that others read while they wait.
        :param logs: the directory for the output of each command, and for what the machine says otherwise.
        :raise UsageError: there is no such image, or it cannot be had there.
        :raise HostError: the machine cannot be had.
        :raise BootError: it does not answer.
        """
