"""Checkpoints on EC2: machine images of our own, made of an instance while it runs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import HostError, UsageError
from vmtasks.image.definition import Definition
from vmtasks.process.threads import threads
from vmtasks.providers.ec2.client import Ec2Client
from vmtasks.providers.ec2.request import ResourceTags
from vmtasks.ssh.session import Session

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
        Ec2Client.at(self.on).drop_images("image-id", self.id)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class AmiCheckpointer:
    """Writes one instance's disk down, as often as it is asked to."""

    account: Ec2Client
    session: Session
    instance_id: str
    definition: Definition
    on: str
    ttl_s: float
    forkable: bool
    """Whether the machine was booted for that."""

    def checkpoint(self, name: str, _key: str = "") -> Ami:
        """Make an AMI of the disk as it is; the machine runs on. Nothing finds it by a key later.

        :raise UsageError: the machine was booted without ``forkable``.
        :raise HostError: EC2 could not.
        """
        if not self.forkable:
            raise UsageError(f"cannot checkpoint {self.session.machine}: it was not booted with forkable=True")
        machine, ami_name = self.session.machine, f"vmtasks-{secrets.token_hex(8)}"
        claim = ResourceTags(name=f"{machine}, {name}", purpose=name, until_s=time.time() + self.ttl_s)
        request = {
            "InstanceId": self.instance_id,
            "Name": ami_name,
            "NoReboot": True,
            "TagSpecifications": [{"ResourceType": kind, "Tags": claim.tags} for kind in ("image", "snapshot")],
        }
        with events.phase("checkpoint", machine=machine, detail=name), threads(1, "ec2") as thread:
            self.session.query(["sync"])
            try:
                # In a thread, one after the other: what an interrupt or a lost answer leaves is there to be removed.
                image_id = thread.submit(self.account.ask, "create_image", **request).result()["ImageId"]
                self._see_made(image_id)
            except BaseException:
                thread.submit(self.account.drop_images, "name", ami_name).result()
                raise
        return Ami(name=name, on=self.on, id=image_id, definition=self.definition)

    def _see_made(self, image_id: str) -> None:
        """Wait until the AMI can be used."""
        limit = Deadline.after(LIMIT_S)
        while not limit.passed:
            found = self.account.images_where("image-id", image_id)
            image: Mapping[str, Any] = found[0] if found else {"State": "pending"}  # so new that EC2 knows nothing yet
            if image["State"] == "available":
                return
            if image["State"] != "pending":
                reason = image.get("StateReason", {}).get("Message", image["State"])
                raise HostError(f"cannot make an AMI of {self.session.machine}: {reason}")
            self.session.watch(limit.within(POLL_S))
        raise HostError(f"cannot make an AMI of {self.session.machine} within {limit.timeout_s:g} s")
