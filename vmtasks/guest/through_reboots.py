"""A command that reboots its guest, and goes on in the next boot: it is started again, and told how often."""

from __future__ import annotations

import math
from typing import Unpack

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import ConnectionLost, GuestLost, TestFailed
from vmtasks.guest.commands import RunOptions
from vmtasks.guest.power import GuestPower
from vmtasks.ssh.command import Command, Result, display, short

RETURN_LIMIT_S = 300.0
"""How long a guest may take to come back from each reboot."""
COUNTERS = ("VMTASKS_REBOOT_COUNT", "TMT_REBOOT_COUNT", "RSTRNT_REBOOTCOUNT")
"""What the number of reboots is called: here, by tmt, and by restraint."""
MARK = "AUTOPKGTEST_REBOOT_MARK"
"""What autopkgtest has of its own; a test takes an empty one for its first start."""

_STATE = (
    "systemctl is-system-running 2>/dev/null; "
    "busctl get-property org.freedesktop.login1 /org/freedesktop/login1 "
    "org.freedesktop.login1.Manager PreparingForShutdown 2>/dev/null; :"
)
"""The second one is true before the first is ``stopping``: logind lets some programs delay a reboot."""


def counted(count: int) -> dict[str, str]:
    """Return the variables that tell a command how often its guest has rebooted."""
    return {**dict.fromkeys(COUNTERS, str(count)), MARK: str(count) if count else ""}


class CommandsThroughReboots(GuestPower):
    """Runs commands that do not end with a boot."""

    def run_through_reboots(
        self,
        command: Command,
        *,
        reboots_at_most: int = 10,
        warn: bool = False,
        **options: Unpack[RunOptions],
    ) -> Result:
        """Run a command, start it again after each reboot that comes while it runs, and return the last result.

        It asks for one by ``systemctl reboot``, or has one by a crash. It finds the number of reboots in
        ``VMTASKS_REBOOT_COUNT``, and as tmt, restraint and autopkgtest call it.

        :param reboots_at_most: how many reboots there may be.
        :param warn: whether another exit status than 0 of the last start is no error.
        :param options: those of :meth:`run`; ``timeout_s`` is the limit of all starts and reboots together.
        :raise CommandFailed: the exit status is not 0, and not *warn*.
        :raise CommandTimedOut: the limit passed.
        :raise TestFailed: there were more reboots.
        :raise BootError: the guest did not come back.
        """
        timeout_s, env = options.get("timeout_s"), options.get("env") or {}
        limit = Deadline.after(self.timeout_s if timeout_s is None else timeout_s)
        count = 0
        while True:
            options["env"] = {**env, **counted(count)}
            with self._power.away():
                result = self._run_or_reboot(command, limit, options)
            if result is not None:
                return result if warn else self._expect_ok(result)
            count += 1
            if count > reboots_at_most:
                message = f"`{short(display(command))}` has rebooted {self.name} more than {reboots_at_most} times"
                raise TestFailed(message, hint="reboots_at_most= allows more")
            text = f"{self.name} has rebooted ({count}): the command is started again"
            events.emit(events.Note(machine=self.name, text=text))

    def _run_or_reboot(self, command: Command, limit: Deadline, options: RunOptions) -> Result | None:
        """Run a command; return None if a reboot came before its result, and the guest is back."""
        boot = self.boot_id()
        trouble: ConnectionLost | GuestLost | None = None
        try:
            options["timeout_s"] = 0.0 if math.isinf(limit.left_s) else max(1.0, round(limit.left_s))
            result = self.run(command, warn=True, **options)
            if not self._is_stopping():
                return result
        except (ConnectionLost, GuestLost) as problem:
            trouble = problem
        back = Deadline.after(max(limit.within(RETURN_LIMIT_S), 1.0))
        with events.phase("reboot", machine=self.name):
            while True:
                if trouble is None:  # it still answers
                    self.wait_down(timeout_s=max(back.left_s, 1.0))
                self.wait_up(timeout_s=max(back.left_s, 1.0))
                try:
                    if self.boot_id() != boot:
                        return None
                    is_stopping = self._is_stopping()
                except (ConnectionLost, GuestLost) as problem:  # it lets us in, and then goes down
                    trouble, is_stopping = problem, not back.passed
                if trouble is not None and not is_stopping:
                    raise trouble

    def _is_stopping(self) -> bool:
        """Tell whether the guest is on its way down: a command may end before the reboot that it has asked for."""
        return not {"stopping", "b true"}.isdisjoint(self.query(_STATE).splitlines())
