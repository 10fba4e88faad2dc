"""What a shell is told of values; a real bash asks in tests/process/cli/test_installed.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from invoke.collection import Collection

from vmtasks.cli import completion
from vmtasks.cli.collect import collect
from vmtasks.cli.completion import values_for

TASKS: Collection = collect()


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("vmtasks test --image ", ["bookworm", "trixie"]),
        ("vmtasks test --image tri", ["bookworm", "trixie"]),
        ("vmtasks test --image", ["--image", "bookworm"]),
        ("vmtasks test --image=", ["--image=trixie"]),
        ("vmtasks test --image = tri", ["trixie"]),
        ("vmtasks test --image bookworm,", ["bookworm,trixie"]),
        ("vmtasks test --image=sid,tri", ["--image=sid,trixie"]),
        ("vmtasks --echo suite --runner b", ["shell", "bats"]),
        ("vmtasks test --accel", ["auto", "kvm", "tcg"]),
        ("vmtasks test --on ", ["local", "big"]),
        ("vmtasks help ", ["groups", "build-deb"]),
        ("vmtasks help", ["help", "groups"]),
        ("vmtasks shell", ["shell", "bookworm"]),
        ("vmtasks down ", ["web"]),
        ("vmtasks exec w", ["web"]),
    ],
)
def test_values_are_known(line: str, some: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SimpleNamespace(hosts={"big": None})
    monkeypatch.setattr("vmtasks.config.settings.HostSettings.load", lambda: settings)
    monkeypatch.setattr("vmtasks.named.registry.machines", lambda: (SimpleNamespace(name="web"),))
    assert {*some} <= {*(values_for(line, TASKS) or ())}


@pytest.mark.parametrize(
    "line", ["vmtasks", "vmtasks te", "vmtasks test --im", "vmtasks exec web -- ", "vmtasks test --out ", "vmtasks 'a"]
)
def test_the_rest_is_invokes_and_the_shells(line: str) -> None:
    assert values_for(line, TASKS) is None


def test_no_task_is_completed_that_is_not_there() -> None:
    assert {*completion._FIRST_WORD} <= {*TASKS.task_names}
