"""What there is to measure, and measuring it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks import command, crowd, files, groups, host, kept, kernels, profiling, starts
from benchmarks.measurement import Measurement, Rows, checkout
from vmtasks.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How much to measure."""

    runs: int = 5
    """How often each machine starts and each transfer is made."""
    output_mib: int = 1024
    """How much a guest prints while memory is measured."""
    only: tuple[str, ...] = ()
    """The groups to measure; all of them by default."""


GROUPS: dict[str, Callable[[Scope], Rows]] = {
    "list": lambda _: host.inv_list(),
    "command": lambda scope: command.command(scope.runs),
    "start": lambda scope: starts.starts(scope.runs),
    "cold": lambda scope: starts.cold(min(scope.runs, 3)),
    "reboot": lambda scope: kernels.reboots(min(scope.runs, 3)),
    "kernel": lambda scope: kernels.kernels(min(scope.runs, 3)),
    "crowd": lambda _: crowd.crowds(),
    "group": lambda scope: groups.groups(min(scope.runs, 3)),
    "files": lambda scope: files.transfers(min(scope.runs, 3)),
    "memory": lambda scope: host.memory(scope.output_mib),
    "profile": lambda scope: profiling.cost(min(scope.runs, 3)),
    "build": lambda _: host.second_build(),
    "example": lambda _: host.second_example(),
    "bake": lambda _: host.bake(),
    "lasting": lambda scope: kept.lasting(scope.runs),
    "glance": lambda _: kept.glances(),
}
"""What there is to measure, by the name that --only takes."""


def measure(scope: Scope) -> Iterator[Measurement]:
    """Take the measurements, one after the other.

    :raise UsageError: there is no such group, or this is no checkout.
    :raise HostError: something could not be measured.
    """
    if unknown := [name for name in scope.only if name not in GROUPS]:
        raise UsageError(f"there is nothing called {unknown[0]} to measure; known are {', '.join(GROUPS)}")
    checkout()
    for name, measured in GROUPS.items():
        if name in (scope.only or GROUPS):
            yield from measured(scope)
