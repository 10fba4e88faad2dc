"""A pair of existing hosts as the server and the client of a run: two directories, with real ssh and real locks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import paramiko
import pytest

from recipes.netperf import netperf
from tests.process.board import Board, on
from tests.process.played_iperf3 import free_port, played_iperf3
from tests.process.rehearsal import rehearsal_in
from vmtasks import HostError, Run, UsageError, events
from vmtasks.run.options import RecipeOptions


class OtherBoard(Board):
    """A second host: what is in the first one's place there is in a directory of its own here."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.home = place.with_name(f"{place.name}-other")
        subprocess.run(["cp", "-a", "--", place, self.home], check=True)
        self.commands: list[str] = []
        super().__init__(self.home)

    def execute(self, channel: paramiko.Channel, command: str) -> None:
        self.commands.append(command)
        super().execute(channel, command.replace(str(self.place), str(self.home)))


@pytest.fixture
def other(place: Path, board: Board) -> Iterator[OtherBoard]:
    with rehearsal_in(place), closing(OtherBoard(place)) as other:
        other.lets_in = board.lets_in
        with (place / "home/.ssh/known_hosts").open("a") as known:
            known.write(f"[127.0.0.1]:{other.port} {other.key.get_name()} {other.key.get_base64()}\n")
        yield other
    subprocess.run(["rm", "-rf", "--", other.home], check=True)


@pytest.fixture
def run(board: Board, other: OtherBoard, tmp_path: Path) -> Run:
    (tmp_path / "run").mkdir()
    return Run(recipe="pair", flags=RecipeOptions(on=f"{on(board)},{on(other)}"), directory=tmp_path / "run")


def test_the_two_hosts_are_server_and_client_and_the_runs_meanwhile(
    run: Run, board: Board, other: OtherBoard, place: Path
) -> None:
    locks = [home / "state/lock" for home in (place, other.home)]
    heard: list[events.Event] = []
    with events.listening(heard.append), run.group({"server": "bookworm", "client": "bookworm"}) as group:
        assert [(member.role, member.on) for member in group.members] == [
            ("server", on(board)), ("client", on(other)),
        ]  # fmt: skip
        assert group["server"].succeed("echo serves") == "serves\n"
        assert group["client"].succeed("echo asks") == "asks\n"
        assert all("pair of " in lock.read_text() for lock in locks)
    started = {one.machine: one.host for one in heard if isinstance(one, events.MachineStarted)}
    assert started == {"server": on(board), "client": on(other)}
    assert any("echo asks" in command for command in other.commands)
    assert not any("echo serves" in command for command in other.commands)
    assert [lock.read_text() for lock in locks] == ["", ""]


def test_netperf_measures_between_them(
    run: Run, board: Board, other: OtherBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_port(monkeypatch)
    heard: list[events.Event] = []
    with events.listening(heard.append), played_iperf3():
        netperf(run, seconds=1, out=str(tmp_path / "out"))
    cases = [(one.case, one.outcome, one.measurement) for one in heard if isinstance(one, events.CaseEnded)]
    assert cases[:2] == [(f"tcp to {on(board)}", "passed", ""), ("sent", "passed", "250")]
    notes = [one.text for one in heard if isinstance(one, events.Note)]
    assert any(text.startswith(f"from {on(other)} to {on(board)}: sent 250 Mbit/s") for text in notes)
    assert [" --client " in command for command in other.commands if "iperf3" in command] == [True]


def test_a_host_alone_is_no_pair(run: Run, board: Board) -> None:
    run.flags = RecipeOptions(on=f"{on(board)},{on(board).replace('root@', '')}")
    roles = {"server": "bookworm", "client": "bookworm"}
    with (
        pytest.raises(UsageError, match=r"cannot have 2 members of a group at ssh://root@127\.0\.0\.1:"),
        run.group(roles),
    ):
        pytest.fail("it is one machine")


def test_one_that_cannot_be_reached_ends_the_run_and_the_other_is_given_back(
    run: Run, other: OtherBoard, place: Path
) -> None:
    other.close()
    roles = {"server": "bookworm", "client": "bookworm"}
    with pytest.raises(HostError, match=r"cannot reach 127\.0\.0\.1: Connection refused"), run.group(roles):
        pytest.fail("it has started")
    lock = place / "state/lock"
    assert not lock.exists() or not lock.read_text()
