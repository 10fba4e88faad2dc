"""One instance: where it is reached, and how it is switched off and on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError
from vmtasks.guest.power import Power
from vmtasks.providers.ec2.client import Ec2Client
from vmtasks.providers.ec2.refusals import FAILURES
from vmtasks.providers.ec2.watch import Watch

POLL_S = 1.0
STOP_LIMIT_S = 600.0
"""How long EC2 may take for one whose caller has no limit; some minutes are usual to stop one that does not answer."""
_MORE_TIME = "EC2 may take minutes for that: a larger `timeout_s=` gives it more time"


@dataclass(slots=True, kw_only=True)
class Instance:
    """One that runs."""

    account: Ec2Client
    id: str
    name: str
    """What the machine is called."""
    watch: Watch
    host: str
    """Where it is reached; somewhere else once it was stopped."""

    @property
    def power(self) -> Power:
        """The hand on its power switch.

        It is stopped by force and started, for a reset as well: what EC2 calls a reboot asks the operating system
        first, and may come minutes later.
        """
        return Power(reset=self._cycle, cycle=self._cycle)

    def _cycle(self, limit: Deadline) -> None:
        """Switch it off and on; its disk stays.

        :raise ConnectionLost: it is gone for good, as after it has powered itself off.
        :raise HostError: EC2 could not, or not before *limit*.
        """
        if math.isinf(limit.left_s):
            limit = Deadline.after(STOP_LIMIT_S)
        self.watch.look()
        with self.watch.away():
            self.account.ask("stop_instances", InstanceIds=[self.id], Force=True)
            self._see_stopped(limit)
            self._start(limit)
            try:
                self.host = address_of(self.account, self.id, self.watch, limit, patient=True)
            except BootError as problem:
                raise HostError(f"cannot switch on {self.name}: {problem}", hint=_MORE_TIME) from problem

    def _see_stopped(self, limit: Deadline) -> None:
        state = "in a state that EC2 did not tell"

        def is_stopped() -> bool:
            nonlocal state
            state = state_of(self.account.instance(self.id))
            return state == "stopped"

        if trouble := _until(is_stopped, self.watch, limit):
            told = f"did not stop within {limit.timeout_s:g} s, and is {state}"
            raise HostError(
                f"cannot switch off {self.name}: its instance {self.id} {told}{trouble.told}", hint=_MORE_TIME
            )

    def _start(self, limit: Deadline) -> None:
        def start() -> bool:
            self.account.ask("start_instances", InstanceIds=[self.id])
            return True

        if trouble := _until(start, self.watch, limit):
            told = f"is stopped, and could not be started within {limit.timeout_s:g} s"
            raise HostError(
                f"cannot switch on {self.name}: its instance {self.id} {told}{trouble.told}", hint=_MORE_TIME
            )


@dataclass(frozen=True, slots=True)
class _Trouble:
    """That something did not come about."""

    problem: Exception | None
    """What EC2 said when it was last asked, if that was no answer."""

    @property
    def told(self) -> str:
        """The end of the sentence that tells of it."""
        return f": {self.problem}" if self.problem else ""


def _until(
    look: Callable[[], bool], watch: Watch, limit: Deadline, spared: tuple[type[Exception], ...] = FAILURES
) -> _Trouble | None:
    """Look until what is waited for is there, but not for longer than the limit; None if it is.

    :param spared: what does not end it: a cloud that does not answer now may the next time.
    """
    while True:
        problem: Exception | None = None
        try:
            if look():
                return None
        except spared as failure:
            problem = failure
        if limit.passed:
            return _Trouble(problem)
        watch(limit.within(POLL_S))


def state_of(instance: Mapping[str, Any]) -> str:
    """Return the state that EC2's description of an instance has; an empty one is that of a very new one."""
    return str(instance.get("State", {}).get("Name", "pending"))


def address_of(account: Ec2Client, instance_id: str, watch: Watch, limit: Deadline, *, patient: bool = False) -> str:
    """Return where an instance that was just started is reached, once it runs.

    :param patient: ask again, until *limit*, where EC2 fails to answer.
    :raise BootError: it ended, or does not run before *limit*.
    """
    instance: Mapping[str, Any] = {}

    def runs() -> bool:
        nonlocal instance
        instance = account.instance(instance_id)
        return bool(address()) and state_of(instance) == "running"

    def address() -> str:
        return str(instance.get("PublicIpAddress") or instance.get("PrivateIpAddress") or "")

    if trouble := _until(runs, watch, limit, spared=FAILURES if patient else ()):
        told = f"did not run within {limit.timeout_s:g} s, and is {state_of(instance)}"
        raise BootError(f"instance {instance_id} {told}{trouble.told}")
    return address()
