"""What costs money ends: whatever breaks off, whoever presses Ctrl-C, and whatever answer is lost; without machines."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from botocore.client import BaseClient

from tests.ec2.cloud import LIMIT_S, REGION, Cloud
from vmtasks import events
from vmtasks.errors import ConnectionLost, HostError, Interrupted, UsageError
from vmtasks.image.definition import find
from vmtasks.process import threads
from vmtasks.providers.ec2 import client as account_module
from vmtasks.providers.ec2.ami import AmiCheckpointer
from vmtasks.providers.ec2.client import Ec2Client, Resource
from vmtasks.providers.ec2.refusals import NotThere
from vmtasks.providers.ec2.request import ResourceTags
from vmtasks.providers.ec2.watch import Watch

CLAIM = ResourceTags(purpose="a test", until_s=time.time() + 86400)
TAGS = [{"ResourceType": "instance", "Tags": CLAIM.tags}]
PLAIN = {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1, "ClientToken": CLAIM.lease, "TagSpecifications": TAGS}
PASSED = [{"ResourceType": "instance", "Tags": ResourceTags(purpose="passed", until_s=0.0).tags}]


class Stubborn(Ec2Client):
    """An account that does not end instances at first."""

    def __init__(self, refusals: int, error: HostError | UsageError) -> None:
        super().__init__(REGION)
        self.refusals = refusals
        self.error = error

    def ask(self, operation: str, **request: Any) -> dict[str, Any]:
        if operation == "terminate_instances" and self.refusals:
            self.refusals -= 1
            raise self.error
        return super().ask(operation, **request)


LATER = HostError("cannot terminate instances on ec2: try later")
UNKNOWN = NotThere("cannot terminate instances on ec2: there is none (InvalidInstanceID.NotFound)")


class Quiet:
    """A session with a machine that has nothing to say."""

    machine = "one"

    def query(self, _: object) -> str:
        return ""

    def watch(self, _: float) -> None:
        pass


@pytest.fixture
def checkpointer(api: Cloud) -> AmiCheckpointer:
    """Return what makes checkpoints of an instance."""
    (instance,) = api.client.run_instances(**PLAIN)["Instances"]
    return AmiCheckpointer(
        account=Ec2Client(REGION),
        session=Quiet(),  # type: ignore[arg-type]
        instance_id=instance["InstanceId"],
        definition=find("plain"),
        on="ec2",
        ttl_s=3600.0,
        forkable=True,
    )


@pytest.fixture
def ctrl_c_during(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Yield what has Ctrl-C come while EC2 is asked for an operation."""
    call, pressed, overtaken = BaseClient._make_api_call, threading.Event(), threading.Event()

    def interrupt(*_: object) -> None:
        pressed.set()
        raise KeyboardInterrupt

    def during(chosen: str) -> None:
        def slow(self: BaseClient, operation: str, request: dict[str, Any]) -> Any:
            if operation == chosen:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                assert pressed.wait(LIMIT_S)
                overtaken.wait(0.5)  # by whoever does not wait for the answer
            answer = call(self, operation, request)
            overtaken.set()
            return answer

        monkeypatch.setattr(BaseClient, "_make_api_call", slow)

    before = signal.signal(signal.SIGINT, interrupt)
    yield during
    signal.signal(signal.SIGINT, before)


def images(api: Cloud) -> tuple[list[str], list[str]]:
    """Return the AMIs of the account, and the snapshots."""
    images = api.client.describe_images(Owners=["self"])["Images"]
    snapshots = api.client.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return [image["ImageId"] for image in images], [snapshot["SnapshotId"] for snapshot in snapshots]


def test_ctrl_c_before_ec2_has_answered_ends_what_it_answers_with(
    api: Cloud, ctrl_c_during: Callable[[str], None]
) -> None:
    ctrl_c_during("RunInstances")
    with pytest.raises(KeyboardInterrupt), Ec2Client(REGION).running(PLAIN, "one"):
        pytest.fail("it was handed out")
    assert api.states() == ["terminated"]


def test_ctrl_c_while_ec2_is_about_to_be_asked_ends_what_it_answers_with(
    api: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(ThreadPoolExecutor):
        count = 0

        def submit(self, *work: Any, **more: Any) -> Future[Any]:
            future = super().submit(*work, **more)
            self.count += 1
            if self.count == 2:  # the first has the thread be there
                raise KeyboardInterrupt
            return future

    monkeypatch.setattr(threads, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt), Ec2Client(REGION).running(PLAIN, "one"):
        pytest.fail("it was handed out")
    assert api.states() == ["terminated"]


def test_ctrl_c_while_the_thread_starts_that_asks_ec2_asks_it_nothing(
    api: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor loses sight of a thread in whose start there was an interrupt: what comes next overtakes it."""

    class Interrupted(ThreadPoolExecutor):
        is_new = True

        def _adjust_thread_count(self) -> None:
            super()._adjust_thread_count()  # type: ignore[misc]
            if self.is_new:
                self.is_new = False
                lost.extend(self._threads)
                self._threads.clear()
                raise KeyboardInterrupt

    lost: list[threading.Thread] = []
    monkeypatch.setattr(threads, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt), Ec2Client(REGION).running(PLAIN, "one"):
        pytest.fail("it was handed out")
    for thread in lost:
        thread.join(LIMIT_S)
    assert api.states() == []


def test_an_instance_ends_that_no_answer_tells_of(api: Cloud) -> None:
    class Deaf(Ec2Client):
        def ask(self, operation: str, **request: Any) -> dict[str, Any]:
            answer = super().ask(operation, **request)
            if operation == "run_instances":
                raise HostError("cannot run instances on ec2: it does not answer")
            return answer

    other = api.client.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, TagSpecifications=PASSED)["Instances"][0]
    with pytest.raises(HostError, match="it does not answer"), Deaf(REGION).running(PLAIN, "one"):
        pytest.fail("it was handed out")
    states = {instance["InstanceId"]: instance["State"]["Name"] for instance in api.instances()}
    assert (states.pop(other["InstanceId"]), [*states.values()]) == ("running", ["terminated"])


@pytest.mark.parametrize("error", [LATER, UNKNOWN])
def test_ending_an_instance_is_tried_more_than_once(api: Cloud, error: HostError | UsageError) -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append), Stubborn(len(account_module.PAUSES_S), error).running(PLAIN, "one"):
        assert api.states() == ["running"]
    assert api.states() == ["terminated"]
    assert not [event for event in heard if isinstance(event, events.Note)]


def test_an_instance_that_cannot_be_ended_is_told_with_the_command_that_does(api: Cloud) -> None:
    with pytest.raises(HostError, match=r"cannot end instance i-\w+, which costs") as failure:  # noqa: SIM117
        with Stubborn(100, LATER).running(PLAIN, "one"):
            (name,) = (one["InstanceId"] for one in api.instances())
    assert failure.value.hint == f"end it: aws ec2 terminate-instances --region {REGION} --instance-ids {name}"


def test_an_instance_that_ec2_does_not_know_yet_at_its_end_is_told_with_the_command_that_ends_it(api: Cloud) -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append), Stubborn(100, UNKNOWN).running(PLAIN, "one"):
        (name,) = (one["InstanceId"] for one in api.instances())
    (note,) = (event for event in heard if isinstance(event, events.Note))
    assert (note.machine, note.level) == ("one", "warning")
    assert note.text.startswith(f"cannot end instance {name}, which costs until it ends by itself")
    assert note.text.endswith(f"end it: aws ec2 terminate-instances --region {REGION} --instance-ids {name}")


def test_a_sweep_is_silent_about_what_ended_meanwhile(api: Cloud) -> None:
    api.client.run_instances(**{**PLAIN, "TagSpecifications": PASSED})
    heard: list[events.Event] = []
    with events.listening(heard.append):
        assert not list(Stubborn(100, UNKNOWN).sweep())
    assert not heard


def test_ctrl_c_before_a_checkpoint_has_a_name_leaves_nothing(
    api: Cloud, checkpointer: AmiCheckpointer, ctrl_c_during: Callable[[str], None]
) -> None:
    before = images(api)
    ctrl_c_during("CreateImage")
    with pytest.raises(KeyboardInterrupt):
        checkpointer.checkpoint("a moment")
    assert images(api) == before


def test_a_checkpoint_that_cannot_be_finished_leaves_nothing(
    api: Cloud, checkpointer: AmiCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, where = images(api), Ec2Client.images_where

    def fails(self: Ec2Client, key: str, value: str) -> list[dict[str, Any]]:
        return [{**image, "State": "failed"} for image in where(self, key, value)]

    monkeypatch.setattr(Ec2Client, "images_where", fails)
    with pytest.raises(HostError, match="cannot make an AMI of one: failed"):
        checkpointer.checkpoint("a moment")
    assert images(api) == before


def test_what_is_to_become_a_checkpoint_is_marked_from_the_start(
    checkpointer: AmiCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: AmiCheckpointer, __: str) -> None:
        (image,), (snapshot,) = checkpointer.account.images(), checkpointer.account.snapshots()
        assert image.claim == snapshot.claim
        raise KeyboardInterrupt

    monkeypatch.setattr(AmiCheckpointer, "_see_made", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpointer.checkpoint("a moment")


def test_a_sweep_goes_on_after_what_cannot_be_removed_and_tells_of_it(api: Cloud) -> None:
    passed = {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1, "TagSpecifications": PASSED}
    (stays,), (goes,) = (api.client.run_instances(**passed)["Instances"] for _ in range(2))
    api.client.modify_instance_attribute(InstanceId=stays["InstanceId"], DisableApiTermination={"Value": True})
    image = api.client.create_image(InstanceId=goes["InstanceId"], Name="image")["ImageId"]
    api.client.create_tags(Resources=[image], Tags=PASSED[0]["Tags"])
    swept: list[str] = []
    with pytest.raises(HostError, match=rf"cannot end instance {stays['InstanceId']}"):
        swept.extend(line.split()[1] for line in Ec2Client(REGION).sweep())
    assert swept == [goes["InstanceId"], image]


def test_an_interrupt_is_no_failure_to_go_on_after(api: Cloud) -> None:
    class Pressed(Ec2Client):
        def terminate(self, _: str) -> None:
            raise Interrupted("interrupted by SIGINT")

        def instance(self, _: str) -> Mapping[str, Any]:
            raise Interrupted("interrupted by SIGINT")

    (instance,) = api.client.run_instances(**{**PLAIN, "TagSpecifications": PASSED})["Instances"]
    with pytest.raises(Interrupted):
        list(Pressed(REGION).sweep())
    with pytest.raises(Interrupted):
        Watch(Pressed(REGION), instance["InstanceId"], CLAIM)(0.0)


def test_a_look_finds_the_end_that_a_wait_may_miss(api: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "EVERY_S", math.inf)
    (instance,) = api.client.run_instances(**{**PLAIN, "TagSpecifications": PASSED})["Instances"]
    watch = Watch(Ec2Client(REGION), instance["InstanceId"], CLAIM)
    watch.answered = True
    watch(0.0)
    api.client.terminate_instances(InstanceIds=[instance["InstanceId"]])
    watch(0.0)
    with pytest.raises(ConnectionLost, match="is gone: its instance i-"):
        watch.look()


def test_what_somebody_else_has_removed_is_no_trouble(api: Cloud, checkpointer: AmiCheckpointer) -> None:
    class Late(Ec2Client):
        def snapshots(self) -> list[Resource]:
            found = super().snapshots()
            for one in found:
                api.client.delete_snapshot(SnapshotId=one.id)
            return found

    checkpoint = checkpointer.checkpoint("a moment")
    (snapshot,) = checkpointer.account.snapshots()
    api.client.deregister_image(ImageId=checkpoint.id)
    api.client.create_tags(Resources=[snapshot.id], Tags=PASSED[0]["Tags"])
    assert [line.split()[1] for line in Late(REGION).sweep()] == [snapshot.id]
    assert checkpoint.drop()
