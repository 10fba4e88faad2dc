"""The switch of a group as a process, with sockets in the place of machines."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.cards import ALL, LIMIT_S, NAMES, heard, mac, members, plugged
from tests.waiting import until
from vmtasks.errors import HostError, UsageError
from vmtasks.group.network import Network, switched
from vmtasks.host.local import LOCAL_HOST


@pytest.fixture
def network() -> Iterator[Network]:
    with switched(NAMES, members) as made:
        yield made


def test_frames_go_to_whom_they_are_for_and_broadcasts_to_all(network: Network) -> None:
    with plugged(network, *NAMES) as (server, client1, client2):
        client1.send(mac("server"), b"to the server alone")
        client1.send(ALL, b"to all")
        assert [server.receive(), server.receive()] == [b"to the server alone", b"to all"]
        assert client2.receive() == b"to all"


def test_a_cut_is_in_effect_when_the_call_returns_and_so_is_its_end(network: Network) -> None:
    with plugged(network, *NAMES) as (server, client1, client2):
        for cut, heal in (
            (("client1", "server"), ("server", "client1")),
            (("server", "client"), ()),
            (("client1",), ()),
        ):
            began_s = time.monotonic()
            network.cut(*cut)
            took_s = time.monotonic() - began_s
            client1.send(mac("server"), b"lost")
            server.send(mac("client1"), b"lost")
            server.is_taken()
            client1.is_taken()
            network.heal(*heal)
            client1.send(mac("server"), b"here again")
            server.send(mac("client1"), b"here again")
            assert server.receive() == client1.receive() == b"here again"
            assert took_s < 0.2
        network.cut("client1", "server")
        client2.send(ALL, b"not our quarrel")
        assert server.receive() == client1.receive() == b"not our quarrel"


def test_a_long_link_delays_and_a_lossy_one_loses(network: Network) -> None:
    with plugged(network, *NAMES) as (server, client1, _):
        network.link("client1", "server", delay_s=0.3)
        began_s = time.monotonic()
        client1.send(mac("server"), b"late")
        assert server.receive() == b"late"
        assert 0.3 <= time.monotonic() - began_s < LIMIT_S / 2
        network.link("client1", "server", loss=1.0)
        client1.send(mac("server"), b"never")
        client1.is_taken()
        network.link("client1", "server", loss=0.5)
        for _ in range(400):
            client1.send(mac("server"), b"perhaps")
        client1.is_taken()
        network.heal()
        client1.send(mac("server"), b"the end")
        arrived = 0
        while server.receive() != b"the end":
            arrived += 1
        assert 100 < arrived < 300


def test_a_cut_also_stops_what_is_on_its_way(network: Network) -> None:
    with plugged(network, *NAMES) as (server, client1, client2):
        network.link("client1", "server", delay_s=0.3)
        client1.send(mac("server"), b"on its way")
        client1.send(mac("client2"), b"the switch has both")
        assert client2.receive() == b"the switch has both"
        network.cut("client1", "server")
        network.link("client2", "server", delay_s=0.5)
        client2.send(mac("server"), b"after that")
        assert server.receive() == b"after that"


@pytest.mark.parametrize(
    "change", [lambda n: n.cut("cilent1"), lambda n: n.link("server", loss=2.0), lambda n: n.cut("server", "server")]
)
def test_nonsense_is_refused(network: Network, change: object) -> None:
    with pytest.raises(UsageError):
        change(network)  # type: ignore[operator]


def test_one_that_does_not_read_stops_nobody_else(network: Network) -> None:
    with plugged(network, *NAMES) as (server, client1, _):
        for number in range(3000):
            client1.send(ALL, b"%04d" % number + b"x" * 1400)
            if number % 100 == 0:
                client1.send(mac("server"), b"still there?")
                while server.receive() != b"still there?":
                    pass


def test_whoever_is_booted_again_has_the_port(network: Network) -> None:
    with plugged(network, "server", "client1") as (server, _), plugged(network, "client1") as (again,):
        again.send(mac("server"), b"it is me")
        assert heard(server, b"it is me")


def test_what_is_no_frame_is_dropped_and_its_sender_too(network: Network) -> None:
    with plugged(network, *NAMES) as (server, client1, client2):
        client2.socket.sendall(b"\xff\xff\xff\xffnonsense")
        assert client2.socket.recv(1) == b""
        client1.socket.sendall((3).to_bytes(4, "big") + b"abc")
        client1.send(mac("server"), b"after a runt")
        assert server.receive() == b"after a runt"


def test_nobody_else_can_enter_and_two_groups_do_not_meet(network: Network) -> None:
    directory = network.socket("server").parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    with switched(NAMES, members) as other:
        assert other.socket("server") != network.socket("server")
        with plugged(network, *NAMES) as (_, client1, _), plugged(other, *NAMES) as (theirs, _, client2):
            client1.send(ALL, b"ours")
            client2.send(ALL, b"theirs")
            assert theirs.receive() == b"theirs"
    if os.getuid() == 0:
        assert subprocess.run(["/bin/sh", "-c", f"cd {directory}"], user=65534, check=False).returncode
        assert not subprocess.run(["/bin/sh", "-c", f"cd {directory.parent}"], user=65534, check=False).returncode


def test_signs_of_life_are_no_requests(network: Network) -> None:
    assert network._process.stdin
    network._process.stdin.write(b"\n\n")
    network.cut("server")
    with subprocess.Popen(
        LOCAL_HOST.program("vmtasks.group.switch"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as another:
        printed, _ = another.communicate(b"\n\n")
    assert printed == b""
    assert another.returncode == 0


def test_it_makes_its_directory_and_takes_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    plan = json.dumps({"directory": str(tmp_path), "ports": ["a"]}).encode() + b"\n"
    with subprocess.Popen(
        LOCAL_HOST.program("vmtasks.group.switch"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as switch:
        printed, complaint = switch.communicate(plan)
    assert printed == b""
    assert b"FileExistsError" in complaint
    assert (tmp_path / "precious").exists()


def test_it_goes_with_the_block_and_leaves_nothing() -> None:
    with switched(NAMES, members) as network, plugged(network, *NAMES):
        directory = network.socket("server").parent
        process = network._process
    assert process.returncode == 0
    assert not directory.exists()


def test_it_goes_with_its_caller_even_if_that_is_killed() -> None:
    program = (
        "import sys\nfrom vmtasks.group.network import switched\n"
        "with switched(['a', 'b'], lambda name: [name]) as n:\n"
        "    print(n.socket('a').parent, n._process.pid, flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as caller:
        assert caller.stdout
        directory, pid = caller.stdout.readline().split()
        caller.kill()
    until("end of the switch", lambda: not Path("/proc", pid).exists(), LIMIT_S)
    until("end of its directory", lambda: not Path(directory).exists(), LIMIT_S)


def test_one_that_was_killed_is_told_of() -> None:
    with switched(NAMES, members) as network:
        os.kill(network._process.pid, signal.SIGKILL)
        with pytest.raises(HostError, match="the network of the group is gone"):
            network.cut("server", "client1")
        assert network.end is not None
        directory = network.socket("server").parent
    assert not directory.exists()


def test_it_carries_enough(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    """Far below what it does: a switch that copies or waits too much would show."""
    with plugged(network, "server", "client1") as (server, client1):
        frames, payload = 20_000, b"x" * 1450
        frame = mac("server") + mac("client1") + b"\x08\x00" + payload
        data = (len(frame).to_bytes(4, "big") + frame) * 100
        began_s, received, sent = time.monotonic(), 0, 0
        while received < frames * len(data) // 100:
            if sent < frames and sent * len(data) // 100 - received < 500_000:
                client1.socket.sendall(data)
                sent += 100
            else:
                received += len(server.socket.recv(1 << 20))
        took_s = time.monotonic() - began_s
        rate = frames * len(payload) * 8 / took_s / 1e6
        with capsys.disabled():
            print(f"\n{frames / took_s:.0f} frames/s, {rate:.0f} Mbit/s")  # noqa: T201
        assert rate > 20
