"""An instance that is switched off and on: it is stopped by force, and may be somewhere else then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from tests.ec2.cloud import LIMIT_S, Cloud
from vmtasks.deadline import Deadline
from vmtasks.errors import ConnectionLost, HostError
from vmtasks.providers.ec2 import instance as instance_module
from vmtasks.providers.ec2.client import Ec2Client
from vmtasks.providers.ec2.instance import Instance, address_of
from vmtasks.providers.ec2.request import ResourceTags
from vmtasks.providers.ec2.watch import Watch

ALWAYS = 1_000_000


class Account(Ec2Client):
    """A client that keeps what it changed, and whose instance stops as slowly as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[str, bool]] = []
        self.looks = 0
        """How many looks still find it stopping, after it was asked to stop."""

    def ask(self, operation: str, **request: Any) -> dict[str, Any]:
        if not operation.startswith("describe"):
            self.changes.append((operation, request.get("Force", False)))
        return super().ask(operation, **request)

    def instance(self, instance_id: str) -> Mapping[str, Any]:
        if self.changes and self.looks:
            self.looks -= 1
            return {"State": {"Name": "stopping"}}
        return super().instance(instance_id)


@pytest.fixture
def account(api: Cloud, monkeypatch: pytest.MonkeyPatch) -> Account:
    assert api
    monkeypatch.setattr(instance_module, "POLL_S", 0.05)
    return Account()


@pytest.fixture
def instance(api: Cloud, account: Account, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """Return one that runs, and has answered; each wait for it looks how it is."""
    monkeypatch.setattr(Watch, "EVERY_S", 0.0)
    (image,) = api.client.describe_images(Owners=["self"])["Images"]
    (made,) = api.client.run_instances(ImageId=image["ImageId"], MinCount=1, MaxCount=1)["Instances"]
    watch = Watch(account, made["InstanceId"], ResourceTags(purpose="a test", name="m", until_s=time.time() + 3600))
    watch.answered = True
    host = address_of(account, made["InstanceId"], watch, Deadline.after(LIMIT_S))
    return Instance(account=account, id=made["InstanceId"], name="m", watch=watch, host=host)


def switch_off_and_on(instance: Instance, limit_s: float = LIMIT_S) -> None:
    assert instance.power.cycle
    instance.power.cycle(Deadline.after(limit_s))


def test_it_is_stopped_by_force_and_started_and_reached_where_it_is_then(account: Account, instance: Instance) -> None:
    before = instance.host
    switch_off_and_on(instance)
    assert account.changes == [("stop_instances", True), ("start_instances", False)]
    now = account.instance(instance.id)
    assert now["State"]["Name"] == "running"
    assert instance.host == now["PublicIpAddress"] != before


def test_a_reset_is_the_same_so_that_nothing_that_runs_there_is_asked(account: Account, instance: Instance) -> None:
    assert instance.power.reset
    instance.power.reset(Deadline.after(LIMIT_S))
    assert account.changes[0] == ("stop_instances", True)


def test_it_may_take_its_time_to_stop_but_not_stop_at_any_other_time(
    api: Cloud, account: Account, instance: Instance
) -> None:
    account.looks = 5
    switch_off_and_on(instance)
    assert account.looks == 0
    api.client.stop_instances(InstanceIds=[instance.id])
    with pytest.raises(ConnectionLost, match=r"m is gone: its instance .* is stopped"):
        instance.watch(0.0)


def test_one_that_does_not_stop_is_told(account: Account, instance: Instance) -> None:
    account.looks = ALWAYS
    told = r"cannot switch off m: its instance i-\w+ did not stop within 0.3 s, and is stopping$"
    with pytest.raises(HostError, match=told) as late:
        switch_off_and_on(instance, 0.3)
    assert "timeout_s=" in late.value.hint
    assert [change for change, _ in account.changes] == ["stop_instances"]


def test_one_that_is_ended_and_not_stopped_is_lost(
    api: Cloud, account: Account, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(operation: str, **request: Any) -> dict[str, Any]:
        if operation == "stop_instances":
            return dict(api.client.terminate_instances(InstanceIds=request["InstanceIds"]))
        return Ec2Client.ask(account, operation, **request)

    monkeypatch.setattr(account, "ask", end)
    with pytest.raises(ConnectionLost, match=r"m is gone: its instance i-\w+ is terminated"):
        switch_off_and_on(instance)


def test_one_that_is_gone_is_not_switched_on_again(api: Cloud, account: Account, instance: Instance) -> None:
    api.client.terminate_instances(InstanceIds=[instance.id])
    with pytest.raises(ConnectionLost, match=r"m is gone: its instance i-\w+ is terminated"):
        switch_off_and_on(instance)
    assert not account.changes
