"""News of one instance, asked for now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from vmtasks.errors import BootError, ConnectionLost, TimedOut
from vmtasks.process.threads import check_interrupted
from vmtasks.providers.ec2.client import Ec2Client
from vmtasks.providers.ec2.refusals import FAILURES
from vmtasks.providers.ec2.request import ResourceTags
from vmtasks.ssh.session import NEWS_S


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
            said: Mapping[str, Any] = {}
            with suppress(*FAILURES):  # a cloud that does not answer now may the next time; ssh tells of the machine
                said = self._account.instance(self._instance_id)
            self._expect_alive(said)

    def look(self) -> None:
        """Look whether it still runs, after something broke; raises as a wait does."""
        self._next_s = 0.0
        self(NEWS_S)

    def _expect_alive(self, said: Mapping[str, Any]) -> None:
        """See that an instance has not ended, by what EC2 says of it."""
        state = said["State"]["Name"] if said else "pending"
        if state not in ("pending", "running"):
            why = said.get("StateReason", {}).get("Message") or said.get("StateTransitionReason") or "nobody says why"
            error = ConnectionLost if self.answered else BootError
            raise error(f"{self._claim.name} is gone: its instance {self._instance_id} is {state} ({why})")
