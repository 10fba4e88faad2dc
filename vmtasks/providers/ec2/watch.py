"""News of one instance, asked for now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from vmtasks.errors import BootError, ConnectionLost, TimedOut
from vmtasks.process.threads import check_interrupted
from vmtasks.providers.ec2.client import Ec2Client
from vmtasks.providers.ec2.refusals import FAILURES
from vmtasks.providers.ec2.request import ResourceTags
from vmtasks.ssh.session import NEWS_S

_RUNS = ("pending", "running")


class Watch:
    """Waits, and looks now and then whether an instance still runs."""

    EVERY_S = 5.0

    def __init__(self, account: Ec2Client, instance_id: str, claim: ResourceTags) -> None:
        self._account = account
        self._instance_id = instance_id
        self._claim = claim
        self._next_s = 0.0
        self.answered = False
        """Whether the machine did, once."""
        self._may_be: tuple[str, ...] = _RUNS

    def __call__(self, wait_s: float) -> None:
        """Wait *wait_s* seconds.

        :raise TimedOut: its time has passed: it ends by itself.
        :raise ConnectionLost: it was ended: by a spot market, by somebody.
        :raise BootError: the same, before it ever answered.
        """
        check_interrupted()
        if self._claim.passed:
            raise TimedOut(
                f"cannot go on with {self._claim.name}: its time there (ec2_ttl_s) passed at {self._claim.until}",
                hint="a larger `ec2_ttl_s` in the host's settings, or VMTASKS_EC2_TTL_S, gives machines more time",
            )
        time.sleep(wait_s)
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self.EVERY_S
            instance: Mapping[str, Any] = {}
            with suppress(*FAILURES):  # a cloud that does not answer now may the next time; ssh tells of the machine
                instance = self._account.instance(self._instance_id)
            self._expect_alive(instance)

    def look(self) -> None:
        """Look whether it still runs, after something broke; raises as a wait does."""
        self._next_s = 0.0
        self(NEWS_S)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Let it be stopped in the block."""
        self._may_be = (*_RUNS, "stopping", "stopped")
        try:
            yield
        finally:
            self._may_be = _RUNS

    def _expect_alive(self, instance: Mapping[str, Any]) -> None:
        """See that an instance has not ended, by EC2's description of it."""
        state = instance["State"]["Name"] if instance else "pending"
        if state not in self._may_be:
            reason = instance.get("StateReason", {}).get("Message") or instance.get("StateTransitionReason")
            error = ConnectionLost if self.answered else BootError
            told = f"is {state} ({reason or 'nobody says why'})"
            raise error(f"{self._claim.name} is gone: its instance {self._instance_id} {told}")
