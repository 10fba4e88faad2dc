"""The one seam between what is asked of a machine and its provider: QEMU here, QEMU there, a host, a cloud."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from vmtasks import events
from vmtasks.spec import AlarmPolicy, Checkpoint, Network

if TYPE_CHECKING:
    from vmtasks.guest import Guest
    from vmtasks.providers.preparation import Preparation


@dataclass(frozen=True, slots=True, kw_only=True)
class BootOptions:
    """What a caller may ask of a machine; what is not asked for is as the image and the host's settings have it."""

    name: str = ""
    """What to call it; the image's name by default."""
    on: str = ""
    """Where it is to run; empty: as the host's settings have it."""
    kernel: str = ""
    """Another kernel than the image's, as ``--kernel`` names it."""
    memory_mib: int | None = None
    cpus: int | None = None
    network: Network | None = None
    alarms: AlarmPolicy = "warn"
    """What becomes of it when its kernel reports an error on the console."""
    accel: Literal["auto", "kvm", "tcg"] | None = None
    attempts: int | None = None
    cold: bool = False
    """Boot from the disk, whatever templates there are."""
    forkable: bool = False
    """Whether ``guest.checkpoint`` is to serve; it costs some tenths of a second at the start."""
    extra_args: tuple[str, ...] = ()
    """More arguments for QEMU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRequest:
    """A clean machine that a caller asks a provider for."""

    image: str | Checkpoint
    """The name of an image, or a checkpoint of that provider's."""
    options: BootOptions = field(default_factory=BootOptions)
    preparation: Preparation | None = None
    """What :func:`vmtasks.providers.preparation.prepare` is called with first in the block; a provider that can keep
    machines may hand out one that has it behind it."""
    purpose: str = ""
    """What it is for, in the words that others read while they wait."""
    lifetime_s: int = 0
    """How long it may live, whatever becomes of who asked for it; 0: as long as the block. Of QEMU's machines alone."""
    log_dir: Path | None = None
    """The directory for the output of each command, and for the machine's other output."""

    @property
    def name(self) -> str:
        """What the machine is called."""
        return self.options.name or (self.image if isinstance(self.image, str) else self.image.name)


def warn_ignored(request: MachineRequest, names: Sequence[str], *, place: str, reason: str) -> None:
    """Warn which of the options of these *names* was given, though they count for nothing at *place*."""
    if ignored := [name for name in names if getattr(request.options, name)]:
        text = f"{' and '.join(ignored)} count for nothing on {place}: {reason}"
        events.emit(events.Note(machine=request.name, text=text, level="warning"))


class Provider(Protocol):
    """Has machines to give, one at a time to each caller, and takes every one of them back."""

    def machine(self, request: MachineRequest) -> AbstractContextManager[Guest]:
        """Return a block in which there is a clean machine, and after which there is none, however it is left.

        :raise UsageError: there is no such image, or it cannot be had there.
        :raise HostError: the machine cannot be had.
        :raise BootError: it does not answer.
        """

    def command_line(self, request: MachineRequest) -> tuple[str, ...]:
        """Return the command line that would start the machine, to be pasted into a terminal: ``--dry-run``.

        :raise UsageError: a command line does not start machines there.
        """


@runtime_checkable
class Foresighted(Protocol):
    """A provider that knows some of what it cannot do before it has done anything."""

    def expect_possible(self, request: MachineRequest) -> object:
        """See that a machine can be as it is asked for, without asking anybody.

        :raise UsageError: it cannot.
        """
