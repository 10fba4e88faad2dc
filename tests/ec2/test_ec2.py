"""Machines on EC2, all the way but for Amazon: their lives, their ends, and what is refused."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context

from recipes.test_in_vm import test_in_vm as everything
from tests.contract import ProviderContract
from tests.ec2.cloud import LIMIT_S, REGION, Cloud
from vmtasks import Provider, Run, boot, events
from vmtasks.cli import vm
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, CommandFailed, ConnectionLost, HostError, TimedOut, UsageError
from vmtasks.image.baked import key_of
from vmtasks.image.definition import find
from vmtasks.integrations.buildbot.tunnel import tunnel
from vmtasks.providers.apply_image import APPLIED_LAYERS
from vmtasks.providers.ec2.client import Ec2Client
from vmtasks.providers.ec2.provider import Ec2
from vmtasks.run.options import RecipeOptions

OWN = """
from = "plain"
packages = ["greeting"]
files = [{ path = "/etc/greeting", content = "hello\\n", mode = "0600" }]
[[steps]]
run = "dpkg-query -W greeting >/srv/seen"
[ec2]
instance_type = "t3.small"
"""
CASES = ("tarbake", "build-deb", "lintian", "install", "debian/tests/greets", "smoke", "purge", "leftovers")
CALLER = """
from vmtasks import boot
from vmtasks.process.signals import interrupt_on_signals
with interrupt_on_signals(), boot("plain", on="ec2") as guest:
    guest.run(["sleep", "600"])
"""


def calls() -> subprocess.Popen[bytes]:
    """Start a process that has a machine."""
    return subprocess.Popen([sys.executable, "-c", CALLER], stderr=subprocess.PIPE)


def tags_of(thing: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing["Tags"]}


def keys(directory: Path) -> list[Path]:
    return [*directory.glob("vmtasks-ec2-*")]


@pytest.mark.usefixtures("cloud")
class TestEc2(ProviderContract):
    boots = False

    @pytest.fixture
    def provider(self) -> Provider:
        return Ec2(on="ec2")

    @pytest.fixture
    def image(self) -> str:
        return "plain"


def test_a_machine_comes_does_its_work_and_is_gone(cloud: Cloud, tmp_path: Path) -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append), boot("plain", on="ec2", name="one", purpose="a test") as guest:
        assert guest.succeed(["cat", "/etc/debian_version"]).startswith("12.")
        assert guest.query(["cat", APPLIED_LAYERS]).strip() == key_of(find("plain"))
        (instance,) = cloud.instances()
        assert instance["State"]["Name"] == "running"
        assert keys(tmp_path)
    assert cloud.states() == ["terminated"]
    assert not keys(tmp_path)
    assert instance["InstanceType"] == "t3.medium"
    tags = tags_of(instance)
    assert (tags["Name"], tags["vmtasks:what"]) == ("one", "a test")
    phases = [event.phase for event in heard if isinstance(event, events.PhaseEnded)]
    assert phases == ["instance", "boot", "ssh", "cloud-init", "provision", "stop"]
    (started,) = (event for event in heard if isinstance(event, events.MachineStarted))
    assert (started.image, started.accelerator, started.accelerator_reason) == (
        "plain",
        "ec2",
        f"t3.medium in {REGION}",
    )


def test_the_shipped_recipes_run_there_unchanged_and_their_products_come_home(
    cloud: Cloud, build_tree: Path, images: Path, tmp_path: Path
) -> None:
    ami = cloud.client.register_image(Name="debian-12-build-1", RootDeviceName="/dev/xvda")["ImageId"]
    cloud.trees[ami] = build_tree
    for name, pattern in (("", "debian-12-amd64-*"), ("-build", "debian-12-build-*")):
        text = f'from = "bookworm{name}"\n[ec2]\nowner = "self"\nname = "{pattern}"\n'
        (images / f"debian{name}.toml").write_text(text)
    heard: list[events.Event] = []
    run = Run(recipe="test-in-vm", flags=RecipeOptions(on="ec2"), directory=tmp_path / "run")
    with events.listening(heard.append):
        everything(run, source="examples/hello", image="debian")
    cases = {event.case: event.outcome for event in heard if isinstance(event, events.CaseEnded)}
    assert cases == dict.fromkeys(CASES, "passed")
    made = {path.name: path for path in run.artifacts}
    assert subprocess.check_output(["tar", "-xOzf", made["greeting-1.2.0.tar.gz"], "greeting-1.2.0/Makefile"])
    assert made["greeting_1.2.0_amd64.deb"].read_bytes().startswith(b"!<arch>\n")
    assert set(cloud.states()) == {"terminated"}


def test_an_instance_ends_itself_and_takes_its_disk_along(cloud: Cloud) -> None:
    with boot("plain", on="ec2"):
        (instance,) = cloud.instances()
    name = instance["InstanceId"]
    behaviour = cloud.client.describe_instance_attribute(InstanceId=name, Attribute="instanceInitiatedShutdownBehavior")
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    assert "systemctl poweroff" in cloud.cloud_config(name)["bootcmd"][0][-1]
    assert not cloud.client.describe_volumes()["Volumes"]


def test_a_layer_is_applied_and_what_it_says_of_ec2_goes_over_its_parents(cloud: Cloud, images: Path) -> None:
    (images / "own.toml").write_text(OWN)
    with boot("own", on="ec2") as guest:
        assert guest.succeed(["cat", "/srv/seen"]) == "greeting\t1.0\n"
        assert guest.succeed(["stat", "-c", "%a %s", "/etc/greeting"]) == "600 6\n"
        assert [one["InstanceType"] for one in cloud.instances()] == ["t3.small"]


def test_the_ami_that_a_pattern_names_is_taken(cloud: Cloud, images: Path) -> None:
    other = cloud.client.register_image(Name="debian-13-amd64-2", RootDeviceName="/dev/xvda")["ImageId"]
    (images / "own.toml").write_text('from = "plain"\n[ec2]\nname = "debian-13-*"\n')
    with boot("plain", on="ec2"), boot("own", on="ec2"):
        assert [one["ImageId"] == other for one in cloud.instances()] == [False, True]


def test_a_step_that_fails_ends_the_machine(cloud: Cloud, images: Path) -> None:
    (images / "own.toml").write_text('from = "plain"\n[[steps]]\nrun = "exit 3"\n')
    with pytest.raises(HostError, match=r"cannot make own of own: .* ended with status 3"), boot("own", on="ec2"):
        pytest.fail("it has come")
    assert cloud.states() == ["terminated"]


def test_an_exception_ends_the_machine(cloud: Cloud) -> None:
    with pytest.raises(CommandFailed), boot("plain", on="ec2") as guest:
        guest.succeed(["false"])
    assert cloud.states() == ["terminated"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_machine_that_has_not_answered_yet(api: Cloud, tmp_path: Path, number: signal.Signals) -> None:
    with calls() as caller:
        api.has_instances(1)
        caller.send_signal(number)
        _, stderr = caller.communicate(timeout=LIMIT_S)
    assert b"interrupted by" in stderr
    assert api.states() == ["terminated"]
    assert not keys(tmp_path)


def test_what_a_killed_process_has_left_is_swept_once_its_time_has_passed(
    api: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill() -> None:
        before = len(api.instances())
        with calls() as caller:
            api.has_instances(before + 1)
            caller.kill()

    kill()
    vm.gc(Context(), on="ec2")
    assert capsys.readouterr().out == "nothing to sweep\n", "it has its time"
    monkeypatch.setenv("VMTASKS_EC2_TTL_S", "3")
    kill()
    vm.ps(Context(), on="ec2")
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["STATE", "running", "running"]
    deadline = Deadline.after(LIMIT_S)
    while (output := swept(capsys)) == "nothing to sweep\n":
        assert not deadline.passed
    assert output.startswith("swept instance i-")
    assert sorted(api.states()) == ["running", "terminated"]
    while keys(tmp_path):
        assert not deadline.passed, "the keys are still there"


def swept(capsys: pytest.CaptureFixture[str]) -> str:
    vm.gc(Context(), on="ec2")
    return capsys.readouterr().out


def test_another_host_key_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    cloud.host_key = (tmp_path / "other").read_text()
    with pytest.raises(BootError, match="another machine answers"), boot("plain", on="ec2"):
        pytest.fail("it was trusted")
    assert cloud.states() == ["terminated"]


def test_a_machine_that_never_answers_is_told_with_a_hint(api: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_BOOT_TIMEOUT_S", "2")
    with pytest.raises(BootError, match="did not answer over ssh within 2 s") as failure, boot("plain", on="ec2"):
        pytest.fail("nothing answers")
    assert "security group" in failure.value.hint
    assert api.states() == ["terminated"]


def test_a_machine_whose_time_passes_is_told_as_that(api: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_EC2_TTL_S", "2")
    monkeypatch.setenv("VMTASKS_BOOT_TIMEOUT_S", "20")
    with pytest.raises(TimedOut, match=r"go on with plain: .*\(ec2_ttl_s\)") as failure, boot("plain", on="ec2"):
        pytest.fail("nothing answers")
    assert "VMTASKS_EC2_TTL_S" in failure.value.hint
    assert api.states() == ["terminated"]


@pytest.mark.usefixtures("cloud")
def test_a_port_of_its_own_loopback_leads_a_worker_to_the_master(tmp_path: Path) -> None:
    line = "exec 3<>/dev/tcp/127.0.0.1/{}; echo hello >&3; head -n 1 <&3"
    with closing(socket.socket(socket.AF_UNIX)) as master, ThreadPoolExecutor(1) as pool:
        master.bind(str(tmp_path / "workers.sock"))
        master.listen()
        master.settimeout(LIMIT_S)

        def answer() -> None:
            with master.accept()[0] as worker, worker.makefile("rwb") as stream:
                stream.write(stream.readline().upper())

        with boot("plain", on="ec2") as guest, tunnel(guest, str(tmp_path / "workers.sock")) as port:
            answered = pool.submit(answer)
            assert guest.succeed(["bash", "-c", line.format(port)], timeout_s=LIMIT_S) == "HELLO\n"
            answered.result(LIMIT_S)


def test_a_machine_is_switched_off_and_on_and_reached_where_it_is_then(cloud: Cloud) -> None:
    with boot("plain", on="ec2") as guest:
        guest.succeed(["touch", "/srv/written"])
        before, ssh, where = guest.boot_id(), guest.ssh_command, guest.address
        guest.power_cycle(timeout_s=5 * LIMIT_S)
        assert guest.boot_id() != before
        assert guest.run(["test", "-e", "/srv/written"], warn=True).ok
        (instance,) = cloud.instances()
        assert guest.address
        assert where
        assert guest.address.host == instance["PublicIpAddress"] != where.host
        assert f"root@{guest.address.host}" in guest.ssh_command[-1]
        assert ssh != guest.ssh_command
    assert cloud.states() == ["terminated"]


def test_a_machine_that_somebody_ends_is_lost(cloud: Cloud) -> None:
    with boot("plain", on="ec2") as guest:
        cloud.client.terminate_instances(InstanceIds=[cloud.instances()[-1]["InstanceId"]])
        with pytest.raises(ConnectionLost, match=r"plain is gone: its instance i-\w+ is terminated"):
            guest.run(["sleep", "600"], warn=True)


def test_one_that_ends_before_it_answers_never_came_up(api: Cloud) -> None:
    def end(event: events.Event) -> None:
        if isinstance(event, events.PhaseStarted) and event.phase == "boot":
            api.client.terminate_instances(InstanceIds=[api.instances()[0]["InstanceId"]])

    with events.listening(end), pytest.raises(BootError, match="plain is gone"), boot("plain", on="ec2"):
        pytest.fail("it was ended")


@pytest.mark.parametrize("ami", ["ami-0123456789abcdef0", "bookworm"])
def test_an_ami_that_is_not_there_is_a_sentence(api: Cloud, images: Path, ami: str) -> None:
    (images / "own.toml").write_text(f'from = "plain"\n[ec2]\nami = "{ami}"\n')
    with pytest.raises(UsageError, match=rf"cannot describe images on ec2: .*{ami}.*\(InvalidAMIID\."):  # noqa: SIM117
        with boot("own", on="ec2"):
            pytest.fail("of what?")
    assert not api.instances()


def test_a_pattern_that_nothing_matches_is_a_sentence(api: Cloud, images: Path) -> None:
    (images / "own.toml").write_text('from = "plain"\n[ec2]\nname = "debian-7-*"\n')
    with pytest.raises(UsageError, match="cannot find an AMI 'debian-7-\\*' of self there"), boot("own", on="ec2"):
        pytest.fail("of what?")
    assert not api.instances()


def test_wrong_credentials_are_a_sentence(api: Cloud) -> None:
    api.post("reset-auth", b"0")
    try:
        with pytest.raises(HostError, match=r"\(AuthFailure\)") as failure, boot("plain", on="ec2"):
            pytest.fail("they are wrong")
    finally:
        api.post("reset-auth", b"inf")
    assert "credentials" in failure.value.hint


def test_no_credentials_are_a_sentence(api: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(HostError, match="Unable to locate credentials") as failure, boot("plain", on="ec2"):
        pytest.fail("there are none")
    assert "credentials" in failure.value.hint
    assert not api.instances()


@pytest.mark.usefixtures("api")
def test_no_region_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(UsageError, match="must specify a region") as failure:
        Ec2Client.at("ec2")
    assert "--on ec2:REGION" in failure.value.hint
    assert Ec2Client.at("ec2:us-east-1").region == "us-east-1"


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(("region", "error"), [("eu-centrl-1", UsageError), ("eu-central-1", HostError)])
def test_where_nobody_answers_the_region_is_named_and_may_be_wrong(
    monkeypatch: pytest.MonkeyPatch, region: str, error: type[Exception]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(error, match="Could not connect") as failure, boot("plain", on=f"ec2:{region}"):
        pytest.fail("where?")
    assert f"that {region} is the region that you mean" in str(getattr(failure.value, "hint", ""))


@pytest.mark.parametrize(
    ("wish", "error"),
    [({"network": "none"}, "network 'none'"), ({"extra_args": ("-s",)}, "arguments for QEMU")],
)
def test_what_cannot_be_had_is_refused_before_anything_costs(api: Cloud, wish: dict[str, Any], error: str) -> None:
    with pytest.raises(UsageError, match=error), boot("plain", on="ec2", **wish):
        pytest.fail("it came without")
    assert not api.instances()


def test_wishes_that_count_for_nothing_are_told(cloud: Cloud) -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append), boot("plain", on="ec2", memory_mib=8192, attempts=5):
        assert cloud.states() == ["running"]
    notes = [event.text for event in heard if isinstance(event, events.Note)]
    assert notes == [
        "memory_mib count for nothing on ec2: t3.medium is what the image's [ec2] says",
        "attempts count for nothing on ec2: a machine that does not come up there is not tried again",
    ]


def test_a_checkpoint_is_an_ami_and_leaves_nothing(cloud: Cloud) -> None:
    def there() -> tuple[set[str], set[str]]:
        images = cloud.client.describe_images(Owners=["self"])["Images"]
        snapshots = cloud.client.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return {image["ImageId"] for image in images}, {snapshot["SnapshotId"] for snapshot in snapshots}

    before = there()
    with boot("plain", on="ec2", forkable=True) as guest:
        assert guest.can_fork
        guest.succeed(["rm", APPLIED_LAYERS])
        checkpoint = guest.checkpoint("as it was")
        assert (checkpoint.name, checkpoint.on) == ("as it was", "ec2")
        account = Ec2Client.at("ec2")
        (image,), (snapshot,) = account.images(), account.snapshots()
        assert image.claim == snapshot.claim
        with boot(checkpoint, name="beside") as other:
            assert [one["ImageId"] for one in cloud.instances()] == [before[0].pop(), image.id]
            assert other.run(["test", "-e", APPLIED_LAYERS], warn=True).exited, (
                "what is on the disk need not be done again"
            )
    before = (there()[0] - {image.id}, before[1])
    assert checkpoint.drop()
    assert there() == before


def test_a_checkpoint_that_nobody_drops_is_swept(cloud: Cloud) -> None:
    with boot("plain", on="ec2", forkable=True) as guest:
        guest.checkpoint("forgotten")
    account = Ec2Client.at("ec2")
    assert not list(account.sweep())
    for thing in (*account.images(), *account.snapshots()):
        cloud.client.create_tags(Resources=[thing.id], Tags=[{"Key": "vmtasks:until", "Value": "2001-01-01T00:00:00Z"}])
    (text,) = account.sweep()
    assert text.startswith("AMI ami-")
    assert text.endswith(", forgotten")
    assert account.images() == account.snapshots() == []
