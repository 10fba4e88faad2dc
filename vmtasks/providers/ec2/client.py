"""EC2 in one region, as the account sees it whose credentials this host has; the one module that knows boto3."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from vmtasks import events
from vmtasks.config.here import setup_line
from vmtasks.errors import HostError, UsageError
from vmtasks.process.threads import threads
from vmtasks.providers.ec2.refusals import _CREDENTIALS, FAILURES, NotThere, _in_words, error_of
from vmtasks.providers.ec2.request import ResourceTags

BOTO3_HINT = f"{setup_line('ec2')} installs it"
_ANSWER_LIMIT_S = 20
_TRIES = 4
PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""How long to wait before what ends an instance is tried again, each time with boto3's own tries."""
_OURS = {"Name": "tag-key", "Values": ["vmtasks:lease"]}
_ALIVE = ("pending", "running", "stopping", "stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """An instance, an AMI or a snapshot of ours."""

    id: str
    claim: ResourceTags
    data: Mapping[str, Any]
    """EC2's description of it."""


class Ec2Client:
    """Asks EC2, and has its answers as sentences.

    :param region: empty: that of boto3's own settings.
    :raise HostError: boto3 is missing.
    :raise UsageError: no setting names a region.
    """

    def __init__(self, region: str = "") -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError as problem:
            raise HostError("cannot have machines on ec2: boto3 is not installed", hint=BOTO3_HINT) from problem
        retries = {"mode": "standard", "total_max_attempts": _TRIES}
        config = Config(connect_timeout=_ANSWER_LIMIT_S, read_timeout=_ANSWER_LIMIT_S, retries=retries)
        try:
            self._client = boto3.Session(region_name=region or None).client("ec2", config=config)
        except (BotoCoreError, ValueError) as problem:
            hint = "name a region: `--on ec2:REGION`, or AWS_REGION" if "region" in str(problem).lower() else ""
            raise UsageError(f"cannot have machines on ec2: {problem}", hint=hint) from problem
        self.region = str(self._client.meta.region_name)

    @classmethod
    def at(cls, on: str) -> Ec2Client:
        """Return the client for a place that ``--on`` names, ``ec2`` or ``ec2:REGION``."""
        return cls(on.partition(":")[2])

    def ask(self, operation: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - boto3 has no types
        """Return EC2's answer to an operation, as boto3 calls it; a list comes as a whole.

        :raise UsageError: the image or the host's settings ask for what is not there.
        :raise HostError: it refused for another reason, or does not answer.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        from vmtasks.process.threads import call_in_thread

        def answer() -> dict[str, Any]:
            if self._client.can_paginate(operation):
                return dict(self._client.get_paginator(operation).paginate(**request).build_full_result())
            return dict(getattr(self._client, operation)(**request))

        try:
            # In a thread, where no interrupt comes: boto3 takes every exception for trouble with the network.
            return call_in_thread(answer, timeout_s=math.inf, watch=lambda _: None, give_up=lambda: None)
        except ClientError as problem:
            raise error_of(operation, problem.response["Error"]) from problem
        except BotoCoreError as problem:
            raise self._silence(operation, problem) from problem

    def _silence(self, operation: str, problem: Exception) -> UsageError | HostError:
        """Return as an error of ours that no answer came."""
        from boto3 import Session
        from botocore.exceptions import EndpointConnectionError

        message = f"cannot {_in_words(operation)} on ec2: {problem}"
        if isinstance(problem, EndpointConnectionError):
            hint = f"see that the network works, and that {self.region} is the region that you mean"
            boto = Session()  # older than a new region, perhaps: so no region is refused before it was tried
            regions = (boto.get_available_regions("ec2", one) for one in boto.get_available_partitions())
            return (HostError if any(self.region in some for some in regions) else UsageError)(message, hint=hint)
        hint = _CREDENTIALS if "credential" in str(problem).lower() else "see that the network works"
        return HostError(message, hint=hint)

    # --- instances --------------------------------------------------------------------------------------------

    @contextmanager
    def running(self, request: Mapping[str, Any], name: str) -> Iterator[str]:
        """Yield the id of a new instance, which is terminated at the end of the block, however that is left.

        Both are asked for in a thread, one after the other: an interrupt does not lose the answer that way.

        :param request: its ``ClientToken`` is the lease that its tags name.
        """
        started: list[str] = []

        def start() -> None:
            try:
                started.append(str(self.ask("run_instances", **request)["Instances"][0]["InstanceId"]))
            except FAILURES:  # the answer may be all that was lost
                with suppress(*FAILURES):  # the first error is the one to tell
                    started.extend(one.id for one in self.instances() if one.claim.lease == request["ClientToken"])
                raise

        def end() -> None:
            for instance_id in started:
                with events.phase("stop", machine=name):
                    try:
                        self.terminate(instance_id)
                    except NotThere as problem:  # it was there once, so it may yet come to light
                        text = f"{problem!s}; if it comes to light after all, {problem.hint}"
                        events.emit(events.Note(machine=name, text=text, level="warning"))

        with threads(1, "ec2") as thread:
            try:
                thread.submit(start).result()
                yield started[0]
            finally:
                thread.submit(end).result()

    def terminate(self, instance_id: str) -> None:
        """End an instance for good.

        :raise NotThere: EC2 knows of none: it has been gone for long, or is so new that EC2 does not know it yet.
        :raise HostError: it may run on.
        """
        for pause_s in (*PAUSES_S, None):
            try:
                self.ask("terminate_instances", InstanceIds=[instance_id])
            except FAILURES as problem:
                if pause_s is None:
                    command = f"aws ec2 terminate-instances --region {self.region} --instance-ids {instance_id}"
                    message = f"cannot end instance {instance_id}, which costs until it ends by itself: {problem}"
                    error = NotThere if isinstance(problem, NotThere) else HostError
                    raise error(message, hint=f"end it: {command}") from problem
                time.sleep(pause_s)
            else:
                return

    def instance(self, instance_id: str) -> Mapping[str, Any]:
        """Return EC2's description of an instance; an empty one in its first moments, and long after its end."""
        return next(iter(self._instances({"Name": "instance-id", "Values": [instance_id]})), {})

    def instances(self) -> list[Resource]:
        """Return all instances of ours that there are."""
        found = self._instances(_OURS, {"Name": "instance-state-name", "Values": [*_ALIVE]})
        return [_thing(one, "InstanceId") for one in found]

    def _instances(self, *filters: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = self.ask("describe_instances", Filters=list(filters))
        return [one for reservation in answer["Reservations"] for one in reservation["Instances"]]

    # --- images -----------------------------------------------------------------------------------------------

    def images(self) -> list[Resource]:
        """Return all AMIs of ours that there are."""
        found = self.ask("describe_images", Owners=["self"], Filters=[_OURS])["Images"]
        return [_thing(one, "ImageId") for one in found]

    def snapshots(self) -> list[Resource]:
        """Return all snapshots of ours that there are."""
        found = self.ask("describe_snapshots", OwnerIds=["self"], Filters=[_OURS])["Snapshots"]
        return [_thing(one, "SnapshotId") for one in found]

    def images_where(self, key: str, value: str) -> list[dict[str, Any]]:
        """Return EC2's descriptions of the account's AMIs that one of its filters finds."""
        return list(self.ask("describe_images", Owners=["self"], Filters=[{"Name": key, "Values": [value]}])["Images"])

    def drop_images(self, key: str, value: str) -> None:
        """Remove the AMIs that a filter finds, and the snapshots that they are made of."""
        for image in self.images_where(key, value):
            with suppress(NotThere):  # another process was faster
                self.ask("deregister_image", ImageId=image["ImageId"])
            for disk in image.get("BlockDeviceMappings", ()):
                if snapshot_id := disk.get("Ebs", {}).get("SnapshotId"):
                    self.drop_snapshot(snapshot_id)

    def drop_snapshot(self, snapshot_id: str) -> None:
        """Remove a snapshot."""
        with suppress(NotThere):  # another process was faster
            self.ask("delete_snapshot", SnapshotId=snapshot_id)

    def sweep(self) -> Iterator[str]:
        """Remove what is ours and has had its time; yield what it was.

        :raise UsageError: the first one that told why something stays; all the rest has been tried.
        :raise HostError: the same.
        """
        failures: list[UsageError | HostError] = []
        for kind, found, remove in (
            ("instance", self.instances, self.terminate),
            ("AMI", self.images, partial(self.drop_images, "image-id")),
            ("snapshot", self.snapshots, self.drop_snapshot),
        ):
            with _kept_in(failures):
                for thing in found():
                    with _kept_in(failures), suppress(NotThere):  # another process was faster
                        if thing.claim.passed:
                            remove(thing.id)
                            yield f"{kind} {thing.id} of {thing.claim.user}, {thing.claim.purpose}"
        if failures:
            raise failures[0]


@contextmanager
def _kept_in(failures: list[UsageError | HostError]) -> Iterator[None]:
    """Go on after a failure, and keep it."""
    try:
        yield
    except FAILURES as problem:
        failures.append(problem)


def _thing(data: Mapping[str, Any], key: str) -> Resource:
    return Resource(id=data[key], claim=ResourceTags.of(data.get("Tags", ())), data=data)
