"""What is asked of EC2, and what a refusal means: pure data, without boto3."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vmtasks.bootstrap import EXTRAS
from vmtasks.config.settings import HostSettings
from vmtasks.deadline import Deadline
from vmtasks.errors import HostError, UsageError
from vmtasks.image.definition import Definition, Ec2Image
from vmtasks.providers.ec2.client import Ec2Client
from vmtasks.providers.ec2.refusals import NotThere, error_of
from vmtasks.providers.ec2.request import ResourceTags, ec2_of, image_request, instance_request, newest

SETTINGS = HostSettings()
SAID = Ec2Image(owner="1", name="debian-*")
IMAGE = {"ImageId": "ami-1", "RootDeviceName": "/dev/xvda", "CreationDate": "2026-01-01T00:00:00.000Z"}
DEFINITION = Definition(name="mine", home=Path("mine.toml"), ec2=SAID, disk_gib=30)
UNTIL_S = 1_800_000_000.0


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for name in ("id_ed25519.pub", "ssh_host_key", "ssh_host_key.pub"):
        (tmp_path / name).write_text(f"{name}'s\n")
    return tmp_path


def test_a_claim_is_read_as_it_was_written() -> None:
    claim = ResourceTags(name="one", purpose="a test", until_s=UNTIL_S, user="me")
    assert ResourceTags.of(claim.tags) == claim
    assert {"Key": "vmtasks:until", "Value": "2027-01-15T08:00:00+00:00"} in claim.tags


def test_every_claim_is_another() -> None:
    assert ResourceTags(purpose="", until_s=0.0).lease != ResourceTags(purpose="", until_s=0.0).lease


@pytest.mark.parametrize("tags", [[], [{"Key": "vmtasks:until", "Value": "soon"}]])
def test_a_claim_that_nobody_can_read_has_passed(tags: list[dict[str, str]]) -> None:
    assert ResourceTags.of(tags).passed
    assert ResourceTags(purpose="", until_s=time.time() - 1).passed
    assert not ResourceTags(purpose="", until_s=time.time() + 60).passed


def test_a_tag_is_no_longer_than_ec2_takes_it() -> None:
    assert max(len(tag["Value"]) for tag in ResourceTags(purpose="x" * 1000, until_s=0.0).tags) == 256


@pytest.mark.parametrize("ec2", [None, Ec2Image(), Ec2Image(owner="1"), Ec2Image(name="debian-*")])
def test_an_image_must_say_which_ami_it_is(ec2: Ec2Image | None) -> None:
    with pytest.raises(UsageError, match=r"cannot have mine on ec2: mine\.toml does not say which AMI") as failure:
        ec2_of(replace(DEFINITION, ec2=ec2))
    assert "[ec2]" in failure.value.hint


def test_an_ami_goes_over_a_pattern() -> None:
    assert image_request(replace(SAID, ami="ami-2")) == {"ImageIds": ["ami-2"]}
    request = image_request(SAID)
    assert request["Owners"] == ["1"]
    assert {"Name": "name", "Values": ["debian-*"]} in request["Filters"]


def test_the_newest_is_taken() -> None:
    younger = {**IMAGE, "ImageId": "ami-2", "CreationDate": "2026-01-01T00:00:00.001Z"}
    assert newest([IMAGE, younger, IMAGE], SAID) == younger


def test_none_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"cannot find an AMI 'debian-\*' of 1"):
        newest([], SAID)


def test_an_instance_ends_for_good_and_its_disk_with_it(keys: Path) -> None:
    request = instance_request(DEFINITION, IMAGE, ResourceTags(purpose="", until_s=UNTIL_S), keys, SETTINGS)
    assert request["InstanceInitiatedShutdownBehavior"] == "terminate"
    (disk,) = request["BlockDeviceMappings"]
    assert disk == {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30, "DeleteOnTermination": True}}
    assert {one["ResourceType"] for one in request["TagSpecifications"]} == {"instance", "volume"}
    assert (request["MinCount"], request["MaxCount"]) == (1, 1)


def test_a_network_is_asked_for_only_where_one_is_named(keys: Path) -> None:
    claim = ResourceTags(purpose="", until_s=UNTIL_S)
    plain = instance_request(DEFINITION, IMAGE, claim, keys, SETTINGS)
    settings = HostSettings(ec2_subnet="subnet-1", ec2_security_groups=("sg-1",))
    placed = instance_request(DEFINITION, IMAGE, claim, keys, settings)
    assert placed == {**plain, "SubnetId": "subnet-1", "SecurityGroupIds": ["sg-1"]}


def test_the_user_data_brings_our_keys_and_the_end(keys: Path, tmp_path: Path) -> None:
    request = instance_request(DEFINITION, IMAGE, ResourceTags(purpose="", until_s=time.time() + 600), keys, SETTINGS)
    first, _, rest = request["UserData"].partition("\n")
    config = json.loads(rest)
    assert first == "#cloud-config"
    assert config["users"] == [{"name": "root", "ssh_authorized_keys": ["id_ed25519.pub's"]}]
    assert config["ssh_keys"] == {"ed25519_private": "ssh_host_key's\n", "ed25519_public": "ssh_host_key.pub's\n"}
    assert 500 < _runs_for(config["bootcmd"][0], tmp_path) <= 600


def test_a_machine_that_boots_after_its_time_ends_at_once(keys: Path, tmp_path: Path) -> None:
    request = instance_request(DEFINITION, IMAGE, ResourceTags(purpose="", until_s=1.0), keys, SETTINGS)
    assert _runs_for(json.loads(request["UserData"].partition("\n")[2])["bootcmd"][0], tmp_path) == 1


@pytest.mark.parametrize(
    ("code", "kind", "hint"),
    [
        ("VPCIdNotSpecified", UsageError, "ec2_subnet"),
        ("InvalidBlockDeviceMapping", UsageError, "[ec2]"),
        ("InvalidSecurityGroupID.Malformed", UsageError, "ec2_…"),
        ("InvalidSecurityGroupID.NotFound", NotThere, "ec2_…"),
        ("InvalidAMIID.Unavailable", NotThere, "[ec2]"),
        ("Unsupported", UsageError, "[ec2]"),
        ("VcpuLimitExceeded", HostError, "vm.ps"),
        ("Unavailable", HostError, ""),
    ],
)
def test_a_refusal_says_whose_mistake_it_is_and_what_helps(code: str, kind: type[Exception], hint: str) -> None:
    error = error_of("run_instances", {"Code": code, "Message": "No."})
    assert (type(error), str(error)) == (kind, f"cannot run instances on ec2: No ({code})")
    assert hint in error.hint


def test_without_boto3_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(HostError, match="boto3 is not installed") as failure:
        Ec2Client.at("ec2")
    assert "`make setup EXTRAS=ec2`" in failure.value.hint
    assert "ec2" in EXTRAS


def _runs_for(command: list[str], directory: Path) -> int:
    """Return how long the shell sleeps before it powers its machine off, once it has."""
    for name, text in (("sleep", 'echo "$1" >"$0.s"'), ("systemctl", 'cat "${0%/*}/sleep.s" >"$0.$1"')):
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)
    subprocess.run(command, env={"PATH": f"{directory}:/usr/bin:/bin"}, check=True)
    deadline = Deadline.after(30)
    end = directory / "systemctl.poweroff"
    while not (end.exists() and end.read_text()):
        assert not deadline.passed
    return int(end.read_text())
