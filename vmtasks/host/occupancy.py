"""How busy a host is, for somebody who chooses between hosts."""

from __future__ import annotations

from dataclasses import dataclass

from vmtasks.config.settings import Accel, HostSettings
from vmtasks.host import capacity, declared, slots
from vmtasks.host.accelerator import choose
from vmtasks.host.availability import Availability
from vmtasks.host.slots import RUNNING, WITHHELD
from vmtasks.spec import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What somebody would claim: a machine, or all machines of a group."""

    memory_mib: int
    """Of all machines together."""
    machines: int = 1
    architectures: tuple[Architecture, ...] = ("amd64",)
    """Those of the machines' images, each once."""
    accel: Accel | None = None
    """What the machines are to have; None: as the settings of the host have it."""

    def __str__(self) -> str:
        machines = "a machine" if self.machines == 1 else f"a group of {self.machines} machines"
        return f"{machines} of {self.memory_mib} MiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """What a host has to say to a claim that is not made yet."""

    availability: Availability
    queue: int
    """How many claims wait there."""
    has_slot: bool
    """Whether it would be served at once."""
    is_large_enough: bool
    """Whether it could ever be."""


def occupancy(demand: Demand) -> Occupancy:
    """Return how busy this host is, for such a demand.

    :raise HostError: it has no QEMU for that.
    :raise SlotsUnavailableError: the queue cannot be read.
    :raise UsageError: its settings are not right.
    """
    settings = HostSettings.load()
    choices = [choose(demand.accel or settings.accel, one) for one in demand.architectures]
    limits = capacity.limits_of(settings, emulated=any(choice.accelerator == "tcg" for choice in choices))
    ahead = [ticket for ticket in slots.tickets() if ticket.state != WITHHELD]  # who stands aside is in nobody's way
    return Occupancy(
        availability=declared.current(),
        queue=sum(ticket.state != RUNNING for ticket in ahead),
        has_slot=limits.admit(demand.memory_mib, ahead, demand.machines),
        is_large_enough=demand.memory_mib <= limits.memory_mib,
    )
