"""An instance that is switched off and on within its caller's limit, by an account that fails now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError
from vmtasks.providers.ec2 import instance as instance_module
from vmtasks.providers.ec2.client import Ec2Client
from vmtasks.providers.ec2.instance import Instance, address_of
from vmtasks.providers.ec2.request import ResourceTags
from vmtasks.providers.ec2.watch import Watch

LIMIT_S = 30.0
ALWAYS = 1_000_000


@dataclass
class Account:
    """One instance; what it is asked for takes so many looks, and fails so many times before."""

    state: str = "running"
    slow: dict[str, int] = field(default_factory=dict)
    """How many looks it stays ``stopping``, or ``pending``."""
    failures: dict[str, int] = field(default_factory=dict)
    """How many times an operation, or a look in a state, gets no answer."""
    asked: list[str] = field(default_factory=list)

    def ask(self, operation: str, **_: Any) -> dict[str, Any]:
        self._may_fail(operation)
        self.asked.append(operation)
        self.state = {"stop_instances": "stopping", "start_instances": "pending"}[operation]
        return {}

    def instance(self, _: str) -> Mapping[str, Any]:
        self._may_fail(self.state)
        found = {"State": {"Name": self.state}, "PublicIpAddress": f"198.51.100.{1 + len(self.asked)}"}
        if after := {"stopping": "stopped", "pending": "running"}.get(self.state):
            self.slow[self.state] = self.slow.get(self.state, 0) - 1
            if self.slow[self.state] < 0:
                self.state = after
        return found

    def _may_fail(self, what: str) -> None:
        if self.failures.get(what, 0) > 0:
            self.failures[what] -= 1
            raise HostError("cannot do that on ec2: the line is dead")


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    monkeypatch.setattr(instance_module, "POLL_S", 0.01)
    monkeypatch.setattr("vmtasks.providers.ec2.watch.NEWS_S", 0.0)
    return Account()


@pytest.fixture
def instance(account: Account) -> Instance:
    client = cast("Ec2Client", account)
    watch = Watch(client, "i-1", ResourceTags(purpose="a test", name="m", until_s=time.time() + 3600))
    watch.answered = True
    return Instance(account=client, id="i-1", name="m", watch=watch, host="198.51.100.1")


def reset(instance: Instance, limit_s: float) -> None:
    assert instance.power.reset
    instance.power.reset(Deadline.after(limit_s))


def test_answers_that_do_not_come_are_waited_for(account: Account, instance: Instance) -> None:
    account.failures = {"stopping": 2, "start_instances": 2, "pending": 2}
    reset(instance, LIMIT_S)
    assert account.asked == ["stop_instances", "start_instances"]
    assert instance.host == "198.51.100.3"


@pytest.mark.parametrize(
    ("slow", "failures", "told"),
    [
        (
            {"stopping": ALWAYS},
            {},
            "cannot switch off m: its instance i-1 did not stop within 0.2 s, and is stopping",
        ),
        (
            {},
            {"start_instances": ALWAYS},
            "cannot switch on m: its instance i-1 is stopped, and could not be started within 0.2 s: "
            "cannot do that on ec2: the line is dead",
        ),
        (
            {"pending": ALWAYS},
            {},
            "cannot switch on m: instance i-1 did not run within 0.2 s, and is pending",
        ),
    ],
)
def test_the_callers_limit_holds_for_all_and_its_end_tells_the_state(
    account: Account, instance: Instance, slow: dict[str, int], failures: dict[str, int], told: str
) -> None:
    account.slow, account.failures = slow, failures
    began_s = time.monotonic()
    with pytest.raises(HostError) as late:
        reset(instance, 0.2)
    assert time.monotonic() - began_s < LIMIT_S
    assert str(late.value) == told
    assert "timeout_s=" in late.value.hint


def test_a_stop_that_is_refused_is_told_at_once(account: Account, instance: Instance) -> None:
    account.failures = {"stop_instances": 1}
    with pytest.raises(HostError, match="the line is dead"):
        reset(instance, LIMIT_S)
    assert account.state == "running"


def test_a_caller_without_a_limit_gets_one(
    account: Account, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_module, "STOP_LIMIT_S", 0.1)
    account.slow = {"stopping": ALWAYS}
    with pytest.raises(HostError, match=r"within 0\.1 s"):
        reset(instance, 0)


def test_a_new_instance_that_does_not_run_is_told_with_its_state(account: Account, instance: Instance) -> None:
    account.state, account.slow = "pending", {"pending": ALWAYS}
    with pytest.raises(BootError, match=r"^instance i-1 did not run within 0\.1 s, and is pending$"):
        address_of(instance.account, "i-1", instance.watch, Deadline.after(0.1))
