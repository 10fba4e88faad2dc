"""systemd units of a guest that have failed, and the end of their journals."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from vmtasks.ssh.command import Command

_LINES = 10


Query = Callable[[Command], str]
"""Returns what a small command prints in the guest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedUnit:
    """A unit that has failed, and the end of its journal."""

    name: str
    journal: tuple[str, ...]

    @property
    def last(self) -> str:
        """The last line of its journal; empty if it has none."""
        return self.journal[-1] if self.journal else ""


def failed(query: Query) -> tuple[FailedUnit, ...]:
    """Return the units that have failed; none where there is no systemd to ask.

    One with ``Restart=`` has, too, while it waits to be started again; to systemd it is "activating" all the while.
    """
    listing = "systemctl list-units --state=failed,auto-restart --plain --no-legend --no-pager 2>/dev/null || :"
    names = [line.split()[0] for line in query(listing).splitlines() if line.strip()]
    return tuple(FailedUnit(name=name, journal=journal_of(query, name)) for name in names)


def journal_of(query: Query, unit: str) -> tuple[str, ...]:
    """Return the last lines that a unit's own processes wrote to the journal, or else systemd's about it."""
    name = shlex.quote(unit)
    show = f"journalctl --no-pager --output=cat --lines={_LINES}"
    own = f"{show} _SYSTEMD_UNIT={name} 2>/dev/null"
    lines = query(f"{own} | grep . || {show} --unit={name} 2>/dev/null || :")
    return tuple(line for line in lines.splitlines() if line.strip())
