"""Up and down: whether the guest answers, and how it is rebooted, reset, and switched off and on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import (
    BootError,
    CommandTimedOut,
    ConnectionLost,
    GuestLost,
    InfrastructureError,
    TestFailed,
    TimedOut,
    UsageError,
)
from vmtasks.guest.answers import at_least, number_of
from vmtasks.guest.commands import GuestCommands

if TYPE_CHECKING:
    from vmtasks.guest.direct_boot import BootChoice
    from vmtasks.ssh.session import Session

_POLL_S = 0.25
_LEAST_S = 1.0
"""How long what ends a verb may take that has used up its limit."""
_AT_ONCE_S = 1e-9
"""A limit of no seconds, where 0 is no limit."""
_SIGN_OF_LIFE_S = 5.0
"""A guest that runs nothing for that long counts as down, until it proves otherwise."""
TRIES = 3
"""How often a machine is reset, or switched, that goes on as if nothing had happened."""
EFFECT_LIMIT_S = 20.0
"""How long a machine may still answer in its old boot before that is tried again."""
BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """A hand on a machine's power switch, as far as there is one."""

    reset: Callable[[Deadline], None] | None = None
    """Presses the reset button; what takes longer than a moment keeps to the limit, or says what it left undone."""
    cycle: Callable[[Deadline], None] | None = None
    """Switches it off, if it is on, and on; the same."""
    expect_halt: Callable[[], None] = lambda: None
    """Raises where a machine that switches itself off would stay off for ever, and is not to."""
    wait_off: Callable[[Deadline], None] | None = None
    """Waits until it is off; None: only its connection shows that."""
    hint: str = ""
    """What to do where it has no reset button, or no switch."""
    away: Callable[[], AbstractContextManager[None]] = nullcontext
    """Returns a block in which the machine may go and come back."""
    direct: BootChoice | None = None
    """What it boots with, where it is booted directly and that can be changed."""


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot of a guest, by what was known of it at a moment of the monotonic clock."""

    id: str
    """Empty: it did not answer."""
    seen_s: float

    @classmethod
    def of(cls, session: Session, *, timeout_s: float = _SIGN_OF_LIFE_S) -> Boot:
        """Return the boot that a guest is in, whether it answers or not."""
        if session.is_off:  # any boot is another one
            return cls("", float("-inf"))
        boot_id = ""
        with suppress(InfrastructureError, TestFailed, OSError):
            boot_id = session.query(["cat", BOOT_ID], timeout_s=timeout_s).strip()
        return cls(boot_id, time.monotonic())

    def is_over(self, session: Session) -> bool:
        """Tell whether the guest, which answers, is in another boot.

        One that did not answer before has booted since then if it has been up for less time than has passed.
        """
        boot_id, up_s, *_ = at_least(session.query(["cat", BOOT_ID, "/proc/uptime"]).split(), 2, of="cat")
        return boot_id != self.id if self.id else number_of(up_s, of="cat") < time.monotonic() - self.seen_s


class GuestPower(GuestCommands):
    """What a guest can do and have done that ends its boot."""

    _power: Power

    @property
    def direct_boots(self) -> BootChoice | None:
        """What it boots with; None: that is decided in the guest, or cannot be changed."""
        return self._power.direct

    def is_up(self) -> bool:
        """Tell whether the guest runs a command."""
        try:
            return self.run(["true"], warn=True, hide=True, timeout_s=_SIGN_OF_LIFE_S).ok
        except (InfrastructureError, GuestLost, TimedOut):
            return False

    def wait_up(self, *, timeout_s: float = 300.0) -> None:
        """Wait until the guest lets us in, over a new connection.

        :raise BootError: it does not within *timeout_s* seconds.
        """
        self._session.renew(Deadline.after(timeout_s))

    def wait_down(self, *, timeout_s: float = 120.0) -> None:
        """Wait until the connection to the guest is gone.

        :raise TimedOut: it still answers after *timeout_s* seconds.
        """
        deadline = Deadline.after(timeout_s)
        transport = self._session.connection.transport
        while transport.is_active() and self.is_up():
            if deadline.passed:
                raise TimedOut(f"{self.name} is still up after {timeout_s:g} s")
            self._session.watch(deadline.within(_POLL_S))

    def boot_id(self) -> str:
        """Return the kernel's boot_id, which every boot makes anew (random(4))."""
        return self.query(["cat", BOOT_ID]).strip()

    def reboot(
        self,
        *,
        timeout_s: float = 300.0,
        hard_after_s: float | None = None,
        kernel: str = "",
        kernel_args: Sequence[str] | str = (),
    ) -> None:
        """Reboot the guest, and come back when it is another boot.

        :param hard_after_s: how long that may take, in seconds, before the guest is reset hard; None: it never is.
        :param kernel: what it boots this time alone: a release that is installed, or the id of an entry of its boot
            loader; empty: its default.
        :param kernel_args: more arguments of that kernel, this time alone.
        :raise TimedOut: it never went down within *timeout_s* seconds.
        :raise BootError: it went down, and did not come back within them.
        :raise GuestLost: the same, by its own doing.
        :raise TestFailed: it came back with another kernel, or without an argument.
        :raise UsageError: it has no such kernel, or nothing by which one can be chosen, and one is asked for.
        """
        limit = Deadline.after(timeout_s)
        if hard_after_s is not None:
            self._expect_way(self._power.reset, "reset")
        if not (kernel or kernel_args):
            self._reboot(limit, hard_after_s)
            return
        from vmtasks.guest.next_boot import choose_next_boot

        wanted = choose_next_boot(self, self._power.direct, kernel, kernel_args)
        try:
            self._reboot(limit, hard_after_s)
        except TimedOut:  # it still answers
            wanted.take_back()
            raise
        wanted.prove(self)

    def _reboot(self, limit: Deadline, hard_after_s: float | None) -> None:
        try:
            soft_s = math.inf if hard_after_s is None else max(hard_after_s, _AT_ONCE_S)
            with self.rebooting(timeout_s=limit.within(soft_s)) as ask:
                ask()
        except (InfrastructureError, GuestLost, TimedOut) as problem:
            if hard_after_s is None or limit.passed:
                raise
            text = f"{self.name} did not reboot in order within {hard_after_s:g} s, and is reset hard: {problem!s}"
            events.emit(events.Note(machine=self.name, text=text, level="warning"))
            self.hard_reset(timeout_s=limit.left_s)

    @contextmanager
    def rebooting(self, *, timeout_s: float = 300.0) -> Iterator[Callable[[], None]]:
        """Come back, at the end of the block, when the guest is another boot; what is yielded asks it to reboot.

        :raise TimedOut: it never went down within *timeout_s* seconds.
        :raise BootError: it went down, and did not come back within them.
        """
        deadline = Deadline.after(timeout_s)

        def ask() -> None:
            self._ask_systemd("reboot", deadline)

        never = f"{self.name} never went down: it is in the same boot after {timeout_s:.3g} s"
        before = self.boot_id()
        with events.phase("reboot", machine=self.name), self._power.away():
            yield ask
            while True:
                try:
                    self.wait_down(timeout_s=max(deadline.left_s, _LEAST_S))
                except TimedOut as problem:
                    raise TimedOut(never) from problem
                try:
                    self.wait_up(timeout_s=max(deadline.left_s, _LEAST_S))
                except BootError as problem:
                    message = f"{self.name} went down, and never came back: {problem}"
                    raise BootError(message, details=problem.details, hint=problem.hint) from problem
                if self.boot_id() != before:
                    return
                if deadline.passed:  # its connection breaks, or it answers too late, and it goes on all the same
                    raise TimedOut(never)

    def hard_reset(self, *, timeout_s: float = 300.0) -> None:
        """Reset the machine, as its reset button does, and come back when it is another boot.

        It need not answer before. What its programs and its kernel had not written to the disk is lost.

        :raise UsageError: there is no way to its reset button.
        :raise BootError: it did not come back within *timeout_s* seconds.
        :raise TimedOut: it goes on in the same boot.
        :raise HostError: what has a hand on its power failed, or was not done within *timeout_s* seconds.
        """
        self._session.expect_on()
        with events.phase("reset", machine=self.name):
            self._start_anew(self._power.reset, "reset", Deadline.after(timeout_s))

    def power_cycle(self, *, timeout_s: float = 300.0) -> None:
        """Switch the machine off, if it is on, and on again, and come back when it is another boot.

        QEMU's machines are reset: the same, but that their memory is not emptied.

        :raise UsageError: there is no way to its power.
        :raise BootError: it did not come back within *timeout_s* seconds.
        :raise TimedOut: it goes on in the same boot.
        :raise HostError: what has a hand on its power failed, or was not done within *timeout_s* seconds.
        """
        with events.phase("power-cycle", machine=self.name):
            self._start_anew(self._power.cycle, "switched off and on", Deadline.after(timeout_s))

    def halt(self, *, timeout_s: float = 120.0) -> None:
        """End the guest's operating system, and have it switch the machine off; then it is down for every verb.

        :raise UsageError: there is no way to switch it on again.
        :raise TimedOut: it is not off within *timeout_s* seconds.
        """
        self._session.expect_on()
        self._power.expect_halt()
        limit = Deadline.after(timeout_s)
        with events.phase("halt", machine=self.name), self._power.away():
            self._ask_systemd("poweroff", limit)
            if self._power.wait_off:
                self._power.wait_off(limit)
            else:
                with suppress(ConnectionLost, GuestLost):  # then it is off, too
                    self.wait_down(timeout_s=max(limit.left_s, _LEAST_S))
            self._session.switched_off("halt() has switched it off")

    def _ask_systemd(self, verb: str, limit: Deadline) -> None:
        # --no-block: the answer comes before the network goes. A connection that breaks all the same, because the
        # guest does as it is told, is fine; and what comes of an answer that does not come is for the caller to see.
        with suppress(ConnectionLost, GuestLost, CommandTimedOut):
            self.run(["systemctl", "--no-block", verb], warn=True, timeout_s=max(limit.left_s, _LEAST_S))

    def _expect_way(self, act: Callable[[Deadline], None] | None, done: str) -> Callable[[Deadline], None]:
        if act is None:
            raise UsageError(f"cannot have {self.name} {done}: there is no way to do that", hint=self._power.hint)
        return act

    def _start_anew(self, act: Callable[[Deadline], None] | None, done: str, limit: Deadline) -> None:
        """Do what ends a boot, again if that has no effect, and come back in the next one."""
        act = self._expect_way(act, done)
        with self._power.away():
            before = Boot.of(self._session)
            if limit.passed:
                raise TimedOut(f"{self.name} was not {done}: {limit.timeout_s:g} s went by before that")
            for left in reversed(range(TRIES)):
                act(limit)
                self._session.switched_on()
                effect = Deadline.after(EFFECT_LIMIT_S if left else None)
                while True:  # to look once, however long that took: nobody else knows which boot it is in
                    self.wait_up(timeout_s=max(limit.left_s, _LEAST_S))
                    if before.is_over(self._session):
                        return
                    if limit.passed:
                        told = f"goes on in the same boot after {limit.timeout_s:g} s"
                        raise TimedOut(f"{self.name} was {done}, and {told}")
                    if effect.passed:
                        break
                    self._session.watch(limit.within(_POLL_S))
