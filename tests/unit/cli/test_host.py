from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from invoke.context import Context

from vmtasks.cli import checks, host, vm
from vmtasks.cli.program import program
from vmtasks.errors import HostError, UsageError
from vmtasks.host import slots

NOON_S = time.mktime((2026, 11, 30, 12, 0, 0, 0, 0, -1))


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    queue = tmp_path / "queue"
    monkeypatch.setattr(slots, "default_directory", lambda: str(queue))
    return queue


@pytest.mark.parametrize(
    ("text", "hours"),
    [("18:00", 6), ("12:00", 24), ("9:30", 21.5), ("24:00", 12), ("90m", 1.5), ("90 min", 1.5), ("2h", 2), ("3d", 72),
     ("2026-12-01", 12), ("2026-12-01 18:00", 30), ("2026-12-01T18:00", 30)],
)  # fmt: skip
def test_times(text: str, hours: float) -> None:
    assert host.moment(text, NOON_S) == NOON_S + hours * 3600


@pytest.mark.parametrize(
    "text", ["", "soon", "25:00", "18:60", "2026-13-01", "-2h", "2 weeks", "9" * 400 + "h", "\0", "9999-12-31"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        host.moment(text, NOON_S)


def test_a_time_that_has_passed() -> None:
    with pytest.raises(UsageError, match="cannot wait until '2026-11-29': that has passed"):
        host.moment("2026-11-29", NOON_S)


@pytest.mark.usefixtures("queue")
def test_it_is_set_shown_and_taken_back(capsys: pytest.CaptureFixture[str]) -> None:
    host.availability(Context(), "none", until="2h", reason="a new disk")
    assert "the host takes no new machines until " in capsys.readouterr().out
    vm.ps(Context())
    assert capsys.readouterr().out.splitlines()[-1].startswith("the host takes no new machines until ")
    (says,) = (one.says for one in checks._slots() if one.level == "limited")
    assert says.startswith("the host takes no new machines until ")
    host.availability(Context(), "show", json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["reason"]) == ("none", "a new disk")
    assert told["since_s"] > 0
    host.availability(Context(), "auto", json=True)
    assert json.loads(capsys.readouterr().out)["since_s"] is None
    host.availability(Context(), "auto")
    assert capsys.readouterr().out == "the host takes machines\n"
    vm.ps(Context())
    assert "the host" not in capsys.readouterr().out


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("why", ["--why", "--reason"])
def test_on_the_command_line_the_state_may_be_left_out(
    why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["vmtasks", "host.availability", *words])
        with suppress(SystemExit):
            program().run()
        return capsys.readouterr().out

    assert call() == "the host takes machines\n"
    assert "(a disk; " in call("none", "--until", "18:00", why, "a disk")
    assert call("--on", "here").startswith("the host takes no new machines until ")
    assert json.loads(call("--json", "--on=here"))["reason"] == "a disk"
    assert call("--on", "here", "auto") == "the host takes machines\n"


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize(
    ("state", "options", "message"),
    [
        ("never", {}, "a host cannot be 'never': there are eager, reluctant, none, auto and show"),
        ("show", {"until": "2h"}, "--until and --why belong to"),
        ("", {"why": "a disk"}, "--until and --why belong to"),
        ("none", {"until": "soon"}, "'soon' is no time"),
        ("none", {"on": "ssh://big"}, "'ssh://big' has no queue of machines"),
    ],
)
def test_what_cannot_be(state: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        host.availability(Context(), state, **options)  # type: ignore[arg-type]


def test_a_queue_that_is_none(queue: Path) -> None:
    queue.touch()
    with pytest.raises(HostError, match="cannot queue for a slot in"):
        host.availability(Context(), "none")
