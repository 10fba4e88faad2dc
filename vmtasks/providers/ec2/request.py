"""What is asked of EC2, as data: whose a thing is and until when, which image is meant, what an instance is made of."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vmtasks.config.here import page
from vmtasks.config.settings import HostSettings
from vmtasks.errors import UsageError
from vmtasks.image.cloud_image import user_data
from vmtasks.image.definition import Definition, Ec2Image
from vmtasks.process.user import user_name

_NO_TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")
"""They would hold apt's locks just when its first packages are installed."""
_TAG_LENGTH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceTags:
    """Whose a thing on EC2 is, what it is for, and until when: its tags."""

    purpose: str
    until_s: float
    """The moment after which anybody may remove it, in seconds since the epoch."""
    name: str = "vmtasks"
    user: str = field(default_factory=user_name)
    lease: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def passed(self) -> bool:
        """Whether its time is up."""
        return datetime.now(UTC).timestamp() >= self.until_s

    @property
    def until(self) -> str:
        """Until when, as ISO 8601 has it, in UTC."""
        return datetime.fromtimestamp(self.until_s, UTC).isoformat(timespec="seconds")

    @property
    def tags(self) -> list[dict[str, str]]:
        """Return what EC2 keeps of it."""
        values = {
            "Name": self.name,
            "vmtasks:lease": self.lease,
            "vmtasks:user": self.user,
            "vmtasks:what": self.purpose,
            "vmtasks:until": self.until,
        }
        return [{"Key": key, "Value": value[:_TAG_LENGTH]} for key, value in values.items()]

    @classmethod
    def of(cls, tags: Iterable[Mapping[str, str]]) -> ResourceTags:
        """Return the claim that the tags of something of ours hold; one that cannot be read has had its time."""
        values = {tag["Key"]: tag["Value"] for tag in tags}
        try:
            until_s = datetime.fromisoformat(values.get("vmtasks:until", "")).timestamp()
        except ValueError:
            until_s = 0.0
        return cls(
            purpose=values.get("vmtasks:what", ""),
            until_s=until_s,
            name=values.get("Name", ""),
            user=values.get("vmtasks:user", ""),
            lease=values.get("vmtasks:lease", ""),
        )


def ec2_of(definition: Definition) -> Ec2Image:
    """Return the part of the image's definition that is for EC2.

    :raise UsageError: it does not name an AMI to take.
    """
    ec2_image = definition.ec2
    if ec2_image is None or not (ec2_image.ami or (ec2_image.owner and ec2_image.name)):
        raise UsageError(
            f"cannot have {definition.name} on ec2: {definition.home} does not say which AMI it is there",
            hint=f"write `[ec2]` with `ami`, or with `owner` and `name`, into it: see {page('images')}",
        )
    return ec2_image


def image_request(ec2_image: Ec2Image) -> dict[str, Any]:
    """Return what describe_images is to be asked."""
    if ec2_image.ami:
        return {"ImageIds": [ec2_image.ami]}
    alive = {"Name": "state", "Values": ["available"]}
    return {"Owners": [ec2_image.owner], "Filters": [{"Name": "name", "Values": [ec2_image.name]}, alive]}


def newest(images: Iterable[Mapping[str, Any]], ec2_image: Ec2Image) -> Mapping[str, Any]:
    """Return the youngest of *images*, which have been found for *ec2_image*.

    :raise UsageError: there is none.
    """
    if found := max(images, key=lambda image: str(image["CreationDate"]), default=None):
        return found
    wanted = ec2_image.ami or f"'{ec2_image.name}' of {ec2_image.owner}"
    raise UsageError(f"cannot find an AMI {wanted} there", hint="AMIs are of one region: see `--on ec2:REGION`")


def instance_request(
    definition: Definition, image: Mapping[str, Any], claim: ResourceTags, keys: Path, settings: HostSettings
) -> dict[str, Any]:
    """Return what run_instances is to be asked.

    :param image: EC2's description of the AMI.
    :param keys: the directory of the keys that it is to know, see :func:`vmtasks.image.mmdebstrap.make_keys`.
    """
    # Whatever the snapshot's own settings are: the disk goes with the instance, or somebody pays for it.
    disk = {"VolumeSize": definition.disk_gib, "DeleteOnTermination": True}
    request: dict[str, Any] = {
        "ImageId": image["ImageId"],
        "InstanceType": ec2_of(definition).instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": claim.lease,
        "UserData": user_data(keys, bootcmd=list(_first_commands(claim.until_s))),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "BlockDeviceMappings": [{"DeviceName": image["RootDeviceName"], "Ebs": disk}],
        "TagSpecifications": [{"ResourceType": kind, "Tags": claim.tags} for kind in ("instance", "volume")],
    }
    if settings.ec2_subnet:
        request["SubnetId"] = settings.ec2_subnet
    if settings.ec2_security_groups:
        request["SecurityGroupIds"] = list(settings.ec2_security_groups)
    return request


def _first_commands(until_s: float) -> Iterator[list[str]]:
    """Yield what each boot begins with; none may wait for a job of systemd's, which waits for us.

    A machine that everybody has forgotten ends by itself, and an instance that powers itself off is no more.
    """
    left = f"left=$(({int(until_s)} - $(date +%s))); [ $left -gt 0 ] || left=1"
    yield ["sh", "-c", f"{left}; (sleep $left; exec systemctl poweroff) </dev/null >/dev/null 2>&1 &"]
    yield ["systemctl", "mask", *_NO_TIMERS]
