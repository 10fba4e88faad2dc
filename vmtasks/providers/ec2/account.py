"""EC2 in one region, as whoever's credentials this host has sees it; the one module that knows boto3."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from vmtasks import events
from vmtasks.errors import BootError, ConnectionLost, HostError, UsageError
from vmtasks.providers.ec2.request import Claim

PIP_LINE = "pip install 'vmtasks[ec2]'"
_ANSWER_LIMIT_S = 20
_TRIES = 4
"""How often what ends an instance is tried, each of them with boto3's own tries."""
_OURS = {"Name": "tag-key", "Values": ["vmtasks:lease"]}
_ALIVE = ("pending", "running", "stopping", "stopped")
_CREDENTIALS = "see which credentials boto3 finds: `aws sts get-caller-identity`"
_HINTS = {
    "AuthFailure": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "RequestExpired": "is this host's clock right?",
    "SignatureDoesNotMatch": _CREDENTIALS,
    "UnauthorizedOperation": "docs/providers.md lists what these credentials must be allowed",
    "InstanceLimitExceeded": "`inv vm.ps --on ec2` lists the machines of vmtasks",
    "VcpuLimitExceeded": "`inv vm.ps --on ec2` lists the machines of vmtasks",
    "InsufficientInstanceCapacity": "try again later, or name another `instance_type` in the image's [ec2]",
}
_ASKED_WRONGLY = ("InvalidAMIID", "InvalidSubnet", "InvalidGroup", "InvalidParameter", "InvalidInstanceType")
"""What the codes begin with that mean the image's ``[ec2]``, or the host's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """An instance, an AMI or a snapshot of ours."""

    id: str
    claim: Claim
    said: Mapping[str, Any]
    """What EC2 says of it."""


class Account:
    """Asks EC2, and has its answers as sentences.

    :param region: empty: where boto3's own settings say.
    :raise HostError: boto3 is missing.
    :raise UsageError: nobody says which region.
    """

    def __init__(self, region: str = "") -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError as problem:
            raise HostError("cannot have machines on ec2: boto3 is not installed", hint=PIP_LINE) from problem
        retries = {"mode": "standard", "total_max_attempts": _TRIES}
        config = Config(connect_timeout=_ANSWER_LIMIT_S, read_timeout=_ANSWER_LIMIT_S, retries=retries)
        try:
            self._client = boto3.Session(region_name=region or None).client("ec2", config=config)
        except (BotoCoreError, ValueError) as problem:
            hint = "name a region: `--on ec2:REGION`, or AWS_REGION" if "region" in str(problem).lower() else ""
            raise UsageError(f"cannot have machines on ec2: {problem}", hint=hint) from problem
        self.region = str(self._client.meta.region_name)

    @classmethod
    def at(cls, on: str) -> Account:
        """Return who is meant by a place that ``--on`` names, ``ec2`` or ``ec2:REGION``."""
        return cls(on.partition(":")[2])

    def ask(self, operation: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - boto3 has no types
        """Return EC2's answer to an operation, as boto3 calls it; a list comes as a whole.

        :raise UsageError: the image or the host's settings ask for what is not there.
        :raise HostError: it refused for another reason, or does not answer.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        from vmtasks.guest.watched import watched

        def answer() -> dict[str, Any]:
            if self._client.can_paginate(operation):
                return dict(self._client.get_paginator(operation).paginate(**request).build_full_result())
            return dict(getattr(self._client, operation)(**request))

        try:
            # In a thread, where no interrupt comes: boto3 takes every exception for trouble with the network.
            return watched(answer, within_s=math.inf, watch=lambda _: None, give_up=lambda: None)
        except ClientError as problem:
            raise refusal(operation, problem.response["Error"]) from problem
        except BotoCoreError as problem:
            hint = _CREDENTIALS if "credential" in str(problem).lower() else "see that the network works"
            raise HostError(f"cannot {_in_words(operation)} on ec2: {problem}", hint=hint) from problem

    # --- instances --------------------------------------------------------------------------------------------

    @contextmanager
    def running(self, request: Mapping[str, Any], name: str) -> Iterator[str]:
        """Yield the id of a new instance, which is terminated at the end of the block, however that is left.

        Both are asked for in a thread: an interrupt does not lose the answer that way.
        """
        with ThreadPoolExecutor(1, "ec2") as thread:
            asked = thread.submit(self.ask, "run_instances", **request)
            try:
                yield _instance_id(asked.result())
            finally:
                if not asked.exception():
                    with events.phase("stop", machine=name):
                        thread.submit(self.terminate, _instance_id(asked.result())).result()

    def terminate(self, instance_id: str) -> None:
        """End an instance for good.

        :raise HostError: it may run on.
        """
        for left in reversed(range(_TRIES)):
            try:
                self.ask("terminate_instances", InstanceIds=[instance_id])
                return
            except HostError as problem:
                if not left:
                    command = f"aws ec2 terminate-instances --region {self.region} --instance-ids {instance_id}"
                    sentence = f"cannot end instance {instance_id}, which costs until it ends by itself: {problem}"
                    raise HostError(sentence, hint=f"end it: {command}") from problem
                time.sleep(1.0)

    def instance(self, instance_id: str) -> Mapping[str, Any]:
        """Return what EC2 says of an instance; nothing in its first moments, and long after its end."""
        return next(iter(self._instances({"Name": "instance-id", "Values": [instance_id]})), {})

    def instances(self) -> list[Thing]:
        """Return all instances of ours that there are."""
        found = self._instances(_OURS, {"Name": "instance-state-name", "Values": [*_ALIVE]})
        return [_thing(one, "InstanceId") for one in found]

    def _instances(self, *filters: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = self.ask("describe_instances", Filters=list(filters))
        return [one for reservation in answer["Reservations"] for one in reservation["Instances"]]

    # --- images -----------------------------------------------------------------------------------------------

    def images(self) -> list[Thing]:
        """Return all AMIs of ours that there are."""
        found = self.ask("describe_images", Owners=["self"], Filters=[_OURS])["Images"]
        return [_thing(one, "ImageId") for one in found]

    def snapshots(self) -> list[Thing]:
        """Return all snapshots of ours that there are."""
        found = self.ask("describe_snapshots", OwnerIds=["self"], Filters=[_OURS])["Snapshots"]
        return [_thing(one, "SnapshotId") for one in found]

    def drop_image(self, image_id: str) -> None:
        """Remove an AMI, and the snapshots that it is made of."""
        for image in self.ask("describe_images", ImageIds=[image_id])["Images"]:
            self.ask("deregister_image", ImageId=image_id)
            for snapshot_id in snapshots_of(image):
                self.ask("delete_snapshot", SnapshotId=snapshot_id)

    def sweep(self) -> Iterator[str]:
        """Remove what is ours and has had its time; yield what it was."""
        for instance in self.instances():
            if instance.claim.passed:
                self.terminate(instance.id)
                yield f"instance {instance.id} of {instance.claim.user}, {instance.claim.what}"
        for image in self.images():
            if image.claim.passed:
                self.drop_image(image.id)
                yield f"AMI {image.id} of {image.claim.user}, {image.claim.what}"
        for snapshot in self.snapshots():
            if snapshot.claim.passed:
                self.ask("delete_snapshot", SnapshotId=snapshot.id)
                yield f"snapshot {snapshot.id} of {snapshot.claim.user}, {snapshot.claim.what}"


class Watch:
    """Waits, and looks now and then whether an instance still runs.

    :param name: what the machine is called.
    """

    EVERY_S = 5.0

    def __init__(self, account: Account, instance_id: str, name: str) -> None:
        self._account = account
        self._instance_id = instance_id
        self._name = name
        self._next_s = 0.0
        self.answered = False
        """Whether the machine did, once."""

    def __call__(self, wait_s: float) -> None:
        """Wait *wait_s* seconds.

        :raise ConnectionLost: it was ended: by its time, by a spot market, by somebody.
        :raise BootError: the same, before it ever answered.
        """
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self.EVERY_S
            said: Mapping[str, Any] = {}
            with suppress(HostError):  # a cloud that does not answer now may the next time; ssh tells of the machine
                said = self._account.instance(self._instance_id)
            self.expect_alive(said)
        time.sleep(wait_s)

    def expect_alive(self, said: Mapping[str, Any]) -> None:
        """See that an instance has not ended, by what EC2 says of it."""
        state = said["State"]["Name"] if said else "pending"
        if state not in ("pending", "running"):
            why = said.get("StateReason", {}).get("Message") or said.get("StateTransitionReason") or "nobody says why"
            error = ConnectionLost if self.answered else BootError
            raise error(f"{self._name} is gone: its instance {self._instance_id} is {state} ({why})")


def refusal(operation: str, error: Mapping[str, str]) -> UsageError | HostError:
    """Return EC2's refusal as an error of ours."""
    code = error.get("Code", "")
    sentence = f"cannot {_in_words(operation)} on ec2: {error.get('Message', '').rstrip('.')} ({code})"
    if code.startswith(_ASKED_WRONGLY):
        return UsageError(
            sentence,
            hint="see [ec2] of the image, and ec2_… of the host's settings; ids are of one region",
        )
    return HostError(sentence, hint=_HINTS.get(code, ""))


def snapshots_of(image: Mapping[str, Any]) -> list[str]:
    """Return the snapshots that an AMI is made of."""
    disks = (mapping.get("Ebs", {}) for mapping in image.get("BlockDeviceMappings", ()))
    return [disk["SnapshotId"] for disk in disks if disk.get("SnapshotId")]


def _thing(said: Mapping[str, Any], key: str) -> Thing:
    return Thing(id=said[key], claim=Claim.of(said.get("Tags", ())), said=said)


def _instance_id(answer: Mapping[str, Any]) -> str:
    return str(answer["Instances"][0]["InstanceId"])


def _in_words(operation: str) -> str:
    return operation.replace("_", " ")
