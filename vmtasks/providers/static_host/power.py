"""The power of an existing host: lines of shell, run on this host, that its owner has put into the settings."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from vmtasks import events
from vmtasks.config.settings import SYSTEM_CONFIG, ExistingHost, HostSettings
from vmtasks.deadline import Deadline
from vmtasks.errors import HostError, TimedOut, UsageError
from vmtasks.guest.power import Power
from vmtasks.process.host_commands import host_commands
from vmtasks.process.tail import last_lines
from vmtasks.process.threads import check_interrupted

TRIES = 3
RETRY_S = 1.0
"""How long to wait before a command that failed is tried again."""
_REDIRECTED = 'exec >"$1" 2>&1 </dev/null; eval "$2"'
_ACTIONS = {"reset": "reset", "power_off": "switch off", "power_on": "switch on"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPower:
    """What switches one host."""

    name: str
    """What it is called in the settings."""
    commands: ExistingHost

    @classmethod
    def of(cls, host: str, port: int | None, settings: HostSettings) -> HostPower:
        """Return what the settings have for a host."""
        name, commands = settings.existing(host, port)
        return cls(name=name, commands=commands)

    def hand(self, away: Callable[[], AbstractContextManager[None]]) -> Power:
        """Return what a guest has of it.

        :param away: returns a block in which the host may go and come back.
        """
        has_switch = self.commands.power_off and self.commands.power_on
        return Power(
            reset=self._reset if self.commands.reset else None,
            cycle=self._cycle if has_switch else None,
            expect_halt=self._expect_way_back,
            away=away,
            hint=self._hint(),
        )

    def switch_on(self) -> None:
        """Switch it on.

        :raise HostError: the command for that does not do it.
        """
        self._do("power_on")

    def _reset(self, _limit: Deadline) -> None:  # each command has the limit that its settings give it
        self._do("reset")

    def _cycle(self, _limit: Deadline) -> None:
        self._do("power_off")
        self._do("power_on")

    def _expect_way_back(self) -> None:
        if not self.commands.power_on:
            raise UsageError(f"cannot halt {self.name}: nothing would switch it on again", hint=self._hint())

    def _hint(self) -> str:
        return (
            f'in {SYSTEM_CONFIG}, or your own settings, [hosts."{self.name}"] has the lines of shell '
            'reset = "…", power_off = "…" and power_on = "…", as in `ipmitool -H BMC chassis power reset`'
        )

    def _do(self, key: str) -> None:
        """Run a command until it ends well, a few times at most.

        :raise HostError: it does not; of the command itself, which may have a password, nothing is shown.
        """
        for left in reversed(range(TRIES)):
            trouble, details = self._run(getattr(self.commands, key))
            if not trouble:
                return
            message = f"cannot {_ACTIONS[key]} {self.name}: the command `{key}` of its settings {trouble}"
            if left:
                text = f"{message}; trying again ({TRIES - left + 1} of {TRIES})"
                events.emit(events.Note(machine=self.name, text=text, level="warning"))
                _pause(RETRY_S)
        raise HostError(f"{message}, {TRIES} times", details=details, hint="try it by hand, on this host")

    def _run(self, line: str) -> tuple[str, tuple[str, ...]]:
        """Return what was wrong with a command, if anything, and the end of what it printed."""
        with tempfile.TemporaryDirectory(prefix="vmtasks-power-") as directory:
            output = Path(directory, "output")
            output.touch()
            argv = ["/bin/sh", "-c", _REDIRECTED, "sh", str(output), line]
            try:
                with host_commands() as host:  # at whose end nothing of it runs any more
                    limit_s = self.commands.power_timeout_s
                    status = host.run(argv, timeout_s=limit_s, watch=lambda _: check_interrupted())
            except TimedOut:
                return f"did not end within {self.commands.power_timeout_s:g} s", last_lines(output)
            return (f"ended with status {status}" if status else ""), last_lines(output)


def _pause(wait_s: float) -> None:
    check_interrupted()
    threading.Event().wait(wait_s)
