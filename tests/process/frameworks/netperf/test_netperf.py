"""The recipe `netperf` in machines that are none, with a program that plays iperf3."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recipes.netperf import netperf
from tests.process.played_iperf3 import free_port, played_iperf3
from vmtasks import Group, Guest, HostError, TestFailed, UsageError, VmtasksError, events, use_provider
from vmtasks.frameworks.netperf import iperf3, servers
from vmtasks.frameworks.netperf import run as run_module
from vmtasks.group.roles import GroupMember
from vmtasks.process import landlock
from vmtasks.run.options import RecipeOptions
from vmtasks.run.run import Run
from vmtasks.testing import FakeProvider


@dataclass
class Ran:
    """What came of a call."""

    problem: VmtasksError | None
    heard: list[events.Event]
    out: Path

    @property
    def figures(self) -> list[tuple[str, str, str, str]]:
        found = (one for one in self.heard if isinstance(one, events.CaseEnded) and one.measurement)
        return [(one.case, one.outcome, one.measurement, one.units) for one in found]

    @property
    def cases(self) -> list[tuple[str, str]]:
        found = (one for one in self.heard if isinstance(one, events.CaseEnded) and not one.measurement)
        return [(one.case, one.outcome) for one in found]


class Bench:
    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, flags: RecipeOptions | None = None, **options: Any) -> Ran:
        (self.path / "run").mkdir()
        run = Run(recipe="netperf", flags=flags or RecipeOptions(), directory=self.path / "run")
        ran = Ran(problem=None, heard=[], out=self.path / "out")
        with events.listening(ran.heard.append):
            try:
                netperf(run, seconds=1, out=str(ran.out), **options)
            except VmtasksError as problem:
                ran.problem = problem
        return ran


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    return free_port(monkeypatch)


@pytest.fixture
def bench(tmp_path: Path, port: int) -> Iterator[Bench]:
    with played_iperf3(), use_provider(FakeProvider()):
        yield Bench(tmp_path)


def is_served(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


FIGURES = [
    ("sent", "passed", "250", "Mbit/s"),
    ("received", "passed", "250", "Mbit/s"),
    ("retransmits", "passed", "3", "segments"),
]


def test_between_two_guests(bench: Bench, port: int) -> None:
    ran = bench.run()
    assert ran.problem is None
    assert ran.cases == [("tcp to server", "passed")]
    assert ran.figures == FIGURES
    assert json.loads((ran.out / "iperf3.json").read_text())["end"]["sum_sent"]["retransmits"] == 3
    assert not is_served(port)  # the server is gone
    notes = [one.text for one in ran.heard if isinstance(one, events.Note)]
    assert "from client to server: sent 250 Mbit/s, received 250 Mbit/s, retransmits 3 segments" in notes


def address_is_asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the roles of those whose address a group was asked for; it is always the same."""
    asked: list[str] = []

    def address_of(_: Group, member: GroupMember) -> str:
        asked.append(member.role)
        return "192.0.2.7"

    monkeypatch.setattr(Group, "address_of", address_of)
    return asked


def test_between_a_guest_and_a_machine_that_stands(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = address_is_asked(monkeypatch)
    ran = bench.run(server="ssh://root@board")
    assert ran.problem is None
    assert ran.cases == [("tcp to ssh://root@board", "passed")]
    assert ran.figures == FIGURES
    assert asked == ["server"]
    commands = [one.command for one in ran.heard if isinstance(one, events.CommandStarted)]
    assert any("--client 192.0.2.7" in command for command in commands)


def test_between_the_two_hosts_of_a_pair(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = address_is_asked(monkeypatch)
    ran = bench.run(RecipeOptions(on="ssh://root@one,ssh://root@other", memory_mib=2048))
    assert ran.problem is None
    assert ran.cases == [("tcp to ssh://root@one", "passed")]
    assert ran.figures == FIGURES
    assert asked == ["server"]
    machines = [(one.machine, one.image) for one in ran.heard if isinstance(one, events.MachineStarted)]
    assert sorted(machines) == [("client", ""), ("server", "")], "they are used as they are"
    notes = [one.text for one in ran.heard if isinstance(one, events.Note)]
    assert any(text.startswith("from ssh://root@other to ssh://root@one: sent 250 Mbit/s") for text in notes)


@pytest.mark.parametrize("server", ["host", "ssh://root@board", "board"])
def test_a_pair_has_its_server(bench: Bench, server: str) -> None:
    ran = bench.run(RecipeOptions(on="ssh://one,ssh://other"), server=server)
    assert isinstance(ran.problem, UsageError)
    assert str(ran.problem) == f"cannot have {server} as the server of a pair: that is its first host, ssh://one"


def test_between_a_guest_and_this_host(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Guest.__init__

    def init(self: Guest, *args: Any, **options: Any) -> None:
        here(self, *args, **{**options, "is_local": True})

    monkeypatch.setattr(Guest, "__init__", init)
    ran = bench.run(server="host")
    assert ran.problem is None
    assert ran.cases == [("tcp to this host", "passed")]
    assert ran.figures == FIGURES
    (command,) = [one.command for one in ran.heard if isinstance(one, events.CommandStarted)]
    words = command.split()
    assert words[words.index("--client") + 1] == "10.0.2.2"
    assert not is_served(int(words[words.index("--port") + 1]))
    assert "Server listening" in (bench.path / "run/iperf3-server.log").read_text()


def test_a_refused_connection_is_a_failure(bench: Bench, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "client_argv", lambda _, __, traffic: iperf3.client_argv("127.0.0.1", 1, traffic))
    ran = bench.run()
    assert isinstance(ran.problem, TestFailed)
    assert "iperf3 could not measure: unable to connect to server: Connection refused (from client to server, " in str(
        ran.problem
    )
    assert ran.cases == [("tcp to server", "test-failed")]
    assert ran.figures == []
    assert not is_served(port)


def test_less_than_was_asked_for_is_a_failure(bench: Bench) -> None:
    ran = bench.run(at_least_mbit_per_s=251)
    assert isinstance(ran.problem, TestFailed)
    assert str(ran.problem) == "from client to server, 250 Mbit/s have arrived, and 251 were asked for"
    assert [outcome for _, outcome, *_ in ran.figures] == ["passed", "test-failed", "passed"]


def test_enough_is_a_pass(bench: Bench) -> None:
    assert bench.run(at_least_mbit_per_s=250).problem is None


def test_a_port_that_another_listens_on_is_told(bench: Bench, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        ran = bench.run()
    assert isinstance(ran.problem, TestFailed)
    assert str(ran.problem) == f"iperf3 cannot serve on server: something else listens on port {port}"


def test_a_host_without_iperf3_is_told_before_a_machine_starts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iperf3, "PROGRAM", "no-such-iperf3")
    ran = bench.run(server="host")
    assert isinstance(ran.problem, HostError)
    assert ran.problem.hint == "apt install iperf3"
    assert not any(isinstance(one, events.MachineStarted) for one in ran.heard)


def test_a_machine_that_does_not_reach_this_host_is_refused(bench: Bench) -> None:
    ran = bench.run(server="host")  # a fake is nowhere
    assert isinstance(ran.problem, UsageError)
    assert "client runs elsewhere, and does not reach it" in str(ran.problem)


@pytest.mark.parametrize("network", ["none", "restricted"])
def test_a_network_without_this_host_is_refused(bench: Bench, network: str) -> None:
    ran = bench.run(RecipeOptions(network=network), server="host")
    assert isinstance(ran.problem, UsageError)
    assert f"with --network {network} a machine does not reach it" in str(ran.problem)


def test_a_server_that_is_none_of_the_three(bench: Bench) -> None:
    ran = bench.run(server="board")
    assert str(ran.problem) == "there is no server 'board': it is guest, host or ssh://HOST"


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
def test_the_server_on_this_host_has_no_files_and_no_secrets(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each guest that reaches this host can send it what it likes."""
    secret = bench.path / "secret"
    secret.write_text("open sesame")
    monkeypatch.setenv("TOKEN", "s3cret")
    place = bench.path / "other/bin"
    place.mkdir(parents=True)
    look = (f"cat {secret}", "env", "echo x >$TMPDIR/buffer && echo has room")
    lines = (*look, "echo Server listening", "exec sleep 60")
    (place / "iperf3").write_text("\n".join(("#!/bin/sh", *lines, "")))
    (place / "iperf3").chmod(0o755)
    monkeypatch.setattr(iperf3, "PROGRAM", str(place / "iperf3"))
    with servers.serving_here(bench.path / "log"):
        printed = (bench.path / "log").read_text()
    assert "secret: Permission denied" in printed
    assert "s3cret" not in printed
    assert "has room" in printed


def test_this_host_says_why_its_server_does_not_start(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(servers, "_free_port", lambda: other.getsockname()[1])
        with (
            pytest.raises(HostError, match="iperf3 does not serve on this host") as refusal,
            servers.serving_here(bench.path / "log"),
        ):
            pytest.fail("it serves")
    assert "Address already in use" in refusal.value.details[-1]
