"""A group on a bigger host: a real sshd in a network of its own, real supervisors and switches there, a fake QEMU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from recipes.group import group as group_recipe
from tests.bigger_host import LIMIT_S, BiggerHost, bigger_host
from tests.group_roles import roles
from tests.process.cards import ALL, NAMES, heard, mac, members, plugged
from tests.process.rehearsal import Rehearsal, rehearsal_in
from tests.waiting import until
from vmtasks import Group, HostError, Interrupted, Role, Run, UsageError, boot_group, events
from vmtasks.errors import InfrastructureError
from vmtasks.group.boot import group_of
from vmtasks.group.claim import claimed, claiming
from vmtasks.group.network import switched
from vmtasks.group.roles import as_roles, members_of
from vmtasks.host import slots
from vmtasks.host.availability import ALWAYS
from vmtasks.host.slots import Limits
from vmtasks.providers.base import BootOptions, MachineRequest
from vmtasks.remote.host import RemoteHost, remote_host
from vmtasks.run.options import RecipeOptions

NOTICED_S = 10.0
ROLES = {"server": "bookworm", "client": Role(image="bookworm", count=2)}
FOUR = Limits(machines=4, memory_mib=4000)
MAX_SESSIONS = 10
"""How many of our programs an sshd lets one connection have, unless it is told otherwise."""
CALLER = """
import sys
from vmtasks.group.claim import claimed
from vmtasks.group.network import switched
from vmtasks.host.availability import ALWAYS
from vmtasks.host.slots import Limits
from vmtasks.remote.host import remote_host

far = remote_host(sys.argv[1])
limits = Limits(machines=4, memory_mib=4000)
with switched(["a", "b"], lambda name: [name], place=far), claimed(far, [("a", 1), ("b", 1)], limits, ALWAYS):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    with tempfile.TemporaryDirectory(prefix="group-") as name, rehearsal_in(Path(name)) as found:
        Path(name).chmod(0o755)
        yield found


@pytest.fixture(scope="module")
def big(rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BiggerHost]:
    """A host with the fake QEMU, and with slots for four machines."""
    environ = {"PATH": f"{rehearsal.top}/programs:/usr/sbin:/usr/bin:/sbin:/bin", "VMTASKS_SLOTS": "4"}
    with bigger_host(tmp_path_factory.mktemp("big"), environ=environ) as host:
        yield host


@pytest.fixture
def far(big: BiggerHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteHost]:
    """A link to it; nothing of it may be left there afterwards."""
    monkeypatch.setenv("VMTASKS_SSH", big.ssh)
    host = remote_host(big.name)
    yield host
    remote_host(big.name).close()
    big.see_it_empty()


def states(far: RemoteHost) -> list[str]:
    return [f"{one.purpose}: {one.state}" for one in far.call(slots.tickets)]


def switch_pids(big: BiggerHost) -> list[int]:
    return [pid for pid, line in big.running() if "vmtasks.group.switch import" in line]


# --- the whole of it


def test_a_group_there_is_a_group(far: RemoteHost, big: BiggerHost, rehearsal: Rehearsal) -> None:
    with boot_group(ROLES, on=big.name, accel="tcg", purpose="a test") as group:
        group.run_all('lava-send "from-$(lava-self)" key=value; lava-sync all')
        assert group["server"].succeed("lava-wait from-client2; lava-group client").split() == ["client1", "client2"]
        assert len(switch_pids(big)) == 1
        ports = [word for plan in rehearsal.plans.values() for word in plan.argv if word.startswith("stream,id=group")]
        assert len(ports) == 3
        assert all(f"addr.path={big.directory}/runtime/vmtasks-" in port for port in ports)
        group.network.cut("client1", "server")
        group.network.heal()
        there = states(far)
        assert [one.partition(", of ")[0] for one in there] == [f"a test: {name}" for name in NAMES]
        assert all(one.endswith(": running") for one in there)
        assert slots.tickets(rehearsal.queue) == ()
    assert states(far) == []


@pytest.mark.usefixtures("far")
def test_a_group_chooses_one_host_for_all(big: BiggerHost) -> None:
    with boot_group(ROLES, on=f"nobody.invalid|{big.name}", accel="tcg") as group:
        assert len(switch_pids(big)) == 1
        group.network.cut("client")


@pytest.mark.usefixtures("far")
def test_a_file_runs_there_with_its_own_tests_here(big: BiggerHost, tmp_path: Path) -> None:
    job = tmp_path / "pair.toml"
    job.write_text(f"""{roles(client="count = 2")}
        [[tests]]
        name = "meet"
        run = "lava-sync there; lava-send done-$(lava-self)"
        [[tests]]
        name = "look"
        roles = ["host"]
        run = "test ${{SSH_SERVER:+here}} = here && touch {tmp_path}/looked"
        """)
    (tmp_path / "run").mkdir()
    cases: list[str] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.CaseEnded):
            cases.append(f"{event.case}: {event.outcome}")

    flags = RecipeOptions(on=big.name, accel="tcg")
    with events.listening(hear):
        group_recipe(Run(recipe="group", flags=flags, directory=tmp_path / "run"), str(job))
    assert sorted(cases) == [f"{name}: passed" for name in sorted(("host: look", *(f"{one}: meet" for one in NAMES)))]
    assert (tmp_path / "looked").exists()


@pytest.mark.usefixtures("far")
def test_members_on_two_hosts_are_no_group(big: BiggerHost) -> None:
    here, there = members_of(as_roles({"here": "bookworm", "there": "bookworm"}))
    requests = {
        here: MachineRequest(image="bookworm", options=BootOptions(name="here")),
        there: MachineRequest(image="bookworm", options=BootOptions(name="there", on=big.name)),
    }
    with pytest.raises(UsageError, match=f"in several places: local, {big.name}"), group_of(requests):
        pytest.fail("it is no group")


@pytest.mark.usefixtures("far")
def test_a_cut_link_ends_the_group_at_both_ends(big: BiggerHost) -> None:
    try:
        with (
            # Which of its lines is found broken first, a machine's or the switch's, is not decided.
            pytest.raises(InfrastructureError, match=f"the link to {big.name} broke"),
            boot_group({"one": "bookworm"}, on=big.name, accel="tcg") as group,
        ):
            wait_behind_a_cut_cable(group, big)
        big.see_it_empty()
    finally:
        big.mend()


def wait_behind_a_cut_cable(group: Group, big: BiggerHost) -> None:
    big.cut()
    group["one"].run("lava-wait never", timeout_s=NOTICED_S + LIMIT_S)


# --- its network


def test_the_switch_there_is_the_one_from_here(far: RemoteHost) -> None:
    with switched(NAMES, members, place=far) as network, plugged(network, *NAMES) as (server, client1, client2):
        client1.send(mac("server"), b"to the server alone")
        assert server.receive() == b"to the server alone"
        network.cut("client1", "server")
        client1.send(mac("server"), b"lost")
        client1.is_taken()
        network.heal()
        client1.send(ALL, b"here again")
        assert server.receive() == client2.receive() == b"here again"
        directory = network.socket("server").parent
        assert directory.stat().st_mode & 0o777 == 0o700
    until("end of its directory", lambda: not directory.exists(), LIMIT_S)


def test_two_groups_there_do_not_meet(far: RemoteHost) -> None:
    with (
        switched(NAMES, members, place=far) as network,
        switched(NAMES, members, place=far) as other,
        plugged(network, *NAMES) as (_, client1, _),
        plugged(other, *NAMES) as (theirs, _, client2),
    ):
        client1.send(ALL, b"ours")
        client2.send(ALL, b"theirs")
        assert heard(theirs, b"theirs")


def test_a_group_has_more_members_than_a_connection_has_sessions(far: RemoteHost, big: BiggerHost) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_SESSIONS + 1):
            network = stack.enter_context(switched(["a", "b"], lambda name: [name], place=far))
        network.cut("a", "b")
        assert len(switch_pids(big)) == MAX_SESSIONS + 1


@pytest.mark.parametrize(
    ("victim", "news"),
    [("proxy", "its switch"), ("watchdog", "the link to root@.* broke"), ("switch", "its program on root@.* ended")],
)
def test_a_network_that_loses_a_process_is_gone_and_leaves_nothing(
    far: RemoteHost, big: BiggerHost, victim: str, news: str
) -> None:
    with switched(NAMES, members, place=far) as network:
        directory = network.socket("server").parent
        if victim == "proxy":
            network._process.kill()
        else:
            call = {"watchdog": "remote.watchdog import", "switch": "vmtasks.group.switch import"}[victim]
            (pid,) = (pid for pid, line in big.running() if call in line and "remote.agent" not in line)
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(HostError, match=f"the network of the group is gone: {news}"):
            network.cut("server", "client1")
        until("end of the network", lambda: network.end is not None, LIMIT_S)
        until("end of its directory", lambda: not directory.exists(), LIMIT_S)


# --- its slots


def test_slots_there_are_had_together_or_not_at_all(far: RemoteHost) -> None:
    theirs = [("work of theirs", 0)] * 3
    with ExitStack() as stack:
        others = stack.enter_context(ExitStack())
        others.enter_context(far.enter(claiming, "theirs", theirs, FOUR, ALWAYS))
        claim = stack.enter_context(claimed(far, [("a", 1), ("b", 1)], FOUR, ALWAYS))
        assert [one.purpose for one in claim.poll()] == ["work of theirs"] * 3
        assert states(far)[3:] == ["a: waiting", "b: waiting"]
        claim.stand_aside()
        assert states(far)[3:] == ["a: withheld", "b: withheld"]
        others.close()
        claim.wait(lambda _: None, pause=lambda wait_s: threading.Event().wait(wait_s))
        assert states(far) == ["a: running", "b: running"]
        assert (claim.machines, claim.memory_mib) == (2, 2)
        assert claim.queue.stat().st_mode & 0o777 == 0o700
    assert states(far) == []
    assert not claim.queue.exists()


def test_a_group_that_loses_its_switch_waits_for_slots_no_longer(
    far: RemoteHost, big: BiggerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "REMIND_S", 0.01)

    def lose_the_switch(event: events.Event) -> None:
        if isinstance(event, events.Progress) and event.detail.startswith("the group is waiting"):
            for pid in switch_pids(big):
                os.kill(pid, signal.SIGKILL)

    with (
        far.enter(claiming, "theirs", [("work of theirs", 0)] * 4, FOUR, ALWAYS),
        events.listening(lose_the_switch),
        pytest.raises(HostError, match="the network of the group is gone"),
        boot_group(ROLES, on=big.name, accel="tcg"),
    ):
        pytest.fail("it has slots")


def test_what_that_host_never_has_is_told(far: RemoteHost) -> None:
    with (
        pytest.raises(HostError, match=f"^{far.name}: cannot run a and 1 beside it with 5000 MiB"),
        claimed(far, [("a", 2500), ("b", 2500)], FOUR, ALWAYS),
    ):
        pytest.fail("it is too much")


def test_who_waits_for_slots_there_can_be_interrupted(far: RemoteHost) -> None:
    def enough(_: float) -> None:
        raise Interrupted("enough")

    with (
        far.enter(claiming, "theirs", [("work of theirs", 0)] * 4, FOUR, ALWAYS),
        claimed(far, [("a", 1)], FOUR, ALWAYS) as claim,
        pytest.raises(Interrupted),
    ):
        claim.wait(lambda _: None, pause=enough)
    assert states(far) == []


def test_a_caller_that_is_killed_leaves_nothing_of_its_group_there(far: RemoteHost, big: BiggerHost) -> None:
    before = len(big.running())
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, big.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as caller:
        assert caller.stdout
        assert caller.stdout.readline() == "ready\n"
        assert states(far) == ["a: running", "b: running"]
        caller.kill()
    until("end of its processes", lambda: len(big.running()) == before, LIMIT_S)
    until("end of its directories", lambda: not [*(big.directory / "runtime").iterdir()], LIMIT_S)
    assert states(far) == []
