"""What a worker's machine has behind it, done to the fake."""

from __future__ import annotations

import pytest

from vmtasks import HostError, boot, use_provider
from vmtasks.integrations.buildbot.prepared_image import PreparedImage
from vmtasks.testing import FakeProvider

FAKE = FakeProvider(instead={"apt-get install bison *": "echo packages >>done"})


def test_packages_are_installed_and_commands_run_then() -> None:
    prepared = PreparedImage("bookworm", ["bison"], ["echo one >>done", "echo two >>done"])
    with use_provider(FAKE), boot("bookworm", prepare=prepared.preparation) as guest:
        assert guest.query(["cat", "done"]).split() == ["packages", "one", "two"]


def test_a_command_that_fails_is_the_configurations_fault_and_no_builds() -> None:
    prepared = PreparedImage("bookworm", commands=["false; true", "echo on"])
    with (
        use_provider(FAKE),
        pytest.raises(HostError, match=r"cannot prepare bookworm: .*false; true.* ended with status 1"),
        boot("bookworm", prepare=prepared.preparation),
    ):
        pytest.fail("it goes on")
