"""Checkpoints on EC2: machine images of our own, made of an instance while it runs."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import HostError, UsageError
from vmtasks.guest.session import Session
from vmtasks.image.definition import Definition
from vmtasks.providers.ec2.account import Account, snapshots_of
from vmtasks.providers.ec2.request import Claim

POLL_S = 2.0
LIMIT_S = 3600.0
"""How long EC2 may take to copy a disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ami:
    """A machine as its disk was; see :class:`vmtasks.spec.Checkpoint`."""

    name: str
    on: str
    id: str
    definition: Definition
    """What it was made from."""

    def drop(self) -> bool:
        """Remove it and the snapshots that it is made of, which an instance does not need any more."""
        Account.at(self.on).drop_image(self.id)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Freezer:
    """Writes one instance's disk down, as often as it is asked to."""

    account: Account
    session: Session
    instance_id: str
    definition: Definition
    on: str
    ttl_s: float
    forkable: bool
    """Whether the machine was booted for that."""

    def checkpoint(self, name: str, _key: str = "") -> Ami:
        """Make an AMI of the disk as it is; the machine runs on. Nothing finds it by a key later.

        :raise UsageError: nobody said that there would be checkpoints.
        :raise HostError: EC2 could not.
        """
        if not self.forkable:
            raise UsageError(f"cannot freeze {self.session.machine}: it was not booted with forkable=True")
        claim = Claim(name=f"{self.session.machine}, {name}", what=name, until_s=time.time() + self.ttl_s)
        with events.phase("checkpoint", machine=self.session.machine, detail=name):
            self.session.query(["sync"])
            made = self.account.ask(
                "create_image",
                InstanceId=self.instance_id,
                Name=f"vmtasks-{secrets.token_hex(8)}",
                NoReboot=True,
                TagSpecifications=[{"ResourceType": "image", "Tags": claim.tags}],
            )
            ami = Ami(name=name, on=self.on, id=made["ImageId"], definition=self.definition)
            try:
                self._see_made(ami, claim)
            except BaseException:
                ami.drop()
                raise
        return ami

    def _see_made(self, ami: Ami, claim: Claim) -> None:
        """Wait until the AMI can be used, and mark its snapshots as ours."""
        limit = Deadline.after(LIMIT_S)
        while not limit.passed:
            (image,) = self.account.ask("describe_images", ImageIds=[ami.id])["Images"]
            if image["State"] == "available":
                self.account.ask("create_tags", Resources=snapshots_of(image), Tags=claim.tags)
                return
            if image["State"] != "pending":
                why = image.get("StateReason", {}).get("Message", image["State"])
                raise HostError(f"cannot make an AMI of {self.session.machine}: {why}")
            self.session.watch(limit.within(POLL_S))
        raise HostError(f"cannot make an AMI of {self.session.machine} within {limit.limit_s:g} s")
