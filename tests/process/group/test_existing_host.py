"""A group in which an existing host stands beside machines of QEMU; the host is a directory, and QEMU a fake one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from recipes.group import group as group_recipe
from tests.process.board import Board, on, switched_power
from tests.process.rehearsal import Rehearsal, rehearsal_in
from tests.waiting import until
from vmtasks import ConnectionLost, Group, HostError, Role, Run, TimedOut, UsageError, boot_group, events
from vmtasks.host.slots import Claim, Limits, tickets
from vmtasks.providers.base import BootOptions, MachineRequest
from vmtasks.providers.static_host.provider import StaticHost
from vmtasks.providers.static_host.reservation import HostInUseError
from vmtasks.run.options import RecipeOptions

LIMIT_S = 30.0


@pytest.fixture
def rehearsal(place: Path, board: Board) -> Iterator[Rehearsal]:
    with rehearsal_in(place, machines=2) as rehearsal:
        yield rehearsal


def roles(board: Board) -> dict[str, Role | str]:
    return {"host": Role(on=on(board)), "vm": Role(image="bookworm", count=2)}


# --- a group that goes well


def test_a_host_sends_and_waits_as_the_others_do_and_is_tidied_up(
    board: Board, place: Path, rehearsal: Rehearsal
) -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append), boot_group(roles(board)) as group:
        said = group["host"].succeed("lava-self; lava-role; echo; lava-group vm")
        assert said.split() == ["host", "host", "vm1", "vm2"]
        group.run_all('lava-send "from-$(lava-self)" key="a b=c"; lava-sync all')
        cache = rehearsal.member("host") / "lava_multi_node_cache.txt"
        found = group["host"].succeed(f"for name in host vm1 vm2; do lava-wait from-$name; cat {cache}; done")
        assert found.splitlines() == ["host:key=a b=c", "vm1:key=a b=c", "vm2:key=a b=c"]
        group["vm2"].run("lava-wait-all from-host host")
        assert (rehearsal.member("host") / "bin" / "lava-send").exists()
    assert [*rehearsal.member("host").iterdir()] == []
    assert (place / "state" / "lock").read_text() == ""
    assert tickets(rehearsal.queue) == ()
    notes = [one.text for one in heard if isinstance(one, events.Note)]
    assert notes.count(f"host has no card on the group's network: it is an existing host, {on(board)}") == 1
    (slot,) = [one for one in heard if isinstance(one, events.PhaseStarted) and one.detail == "2 machines, 127.0.0.1"]
    assert slot.phase == "slot"


@pytest.mark.usefixtures("rehearsal")
def test_a_host_has_no_link_to_be_cut_and_tells_its_own_address(board: Board) -> None:
    with boot_group(roles(board)) as group:
        host, vm1, _ = group.members
        assert (host.address, vm1.address) == ("", "198.18.0.2")
        for change in (group.network.cut, group.network.heal):
            with pytest.raises(
                UsageError, match="host has no link in the group's network: it is an existing host, ssh:"
            ):
                change("host")
        with pytest.raises(UsageError, match="host has no link"):
            group.network.cut("vm", "host")
        group.network.cut("vm1", "vm2")
        own = group["host"].succeed("hostname --all-ip-addresses").split()
        assert group.address_of(host) in [*own[:1], ""]
        assert group.address_of(vm1) == "198.18.0.2"
        group.run_all("lava-network broadcast lo")
        said = group["vm1"].succeed("lava-network collect lo && lava-network query host ipv4")
        assert said == "127.0.0.1\n"


@pytest.mark.usefixtures("rehearsal")
def test_flags_are_for_machines_and_not_for_a_host(board: Board, place: Path, rehearsal: Rehearsal) -> None:
    (place / "run").mkdir()
    flags = RecipeOptions(memory_mib=100, cpus=1, kernel="linux-image-rt-amd64", network="user")
    run = Run(recipe="group", flags=flags, directory=place / "run")
    heard: list[events.Event] = []
    with events.listening(heard.append), run.group(roles(board)) as group:
        assert group["host"].run("true").ok
        assert rehearsal.option("vm1", "-m").startswith("100")
    assert not [one for one in heard if isinstance(one, events.Note) and "count for nothing" in one.text]


def test_a_file_has_a_host_beside_machines(board: Board, place: Path, rehearsal: Rehearsal) -> None:
    job = place / "job.toml"
    job.write_text(f"""
        [group]
        network = "user"
        [[roles]]
        name = "board"
        on = "{on(board)}"
        [[roles]]
        name = "vm"
        image = "bookworm"
        [[tests]]
        name = "meet"
        run = "lava-sync there; lava-send done-$(lava-self)"
        [[tests]]
        name = "look"
        roles = ["board"]
        run = "lava-wait done-vm"
        """)
    (place / "run").mkdir()
    cases: list[str] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.CaseEnded):
            cases.append(f"{event.case}: {event.outcome}")

    with events.listening(hear):
        group_recipe(Run(recipe="group", flags=RecipeOptions(), directory=place / "run"), str(job))
    assert sorted(cases) == ["board: look: passed", "board: meet: passed", "vm: meet: passed"]
    assert not (rehearsal.member("host") / "bin").exists()


@pytest.mark.usefixtures("rehearsal")
@pytest.mark.parametrize("on_host", [True, False])
def test_a_message_may_come_of_the_hosts_side_until_its_tests_are_over(
    board: Board, place: Path, *, on_host: bool
) -> None:
    job = place / "job.toml"
    of_host = """
        [[tests]]
        name = "slow"
        roles = ["host"]
        run = "sleep 2"
        """
    job.write_text(f"""
        [[roles]]
        name = "board"
        on = "{on(board)}"
        [[roles]]
        name = "vm"
        image = "bookworm"
        [[tests]]
        name = "quick"
        roles = ["board"]
        run = "true"
        [[tests]]
        name = "waits"
        roles = ["vm"]
        run = "lava-wait never"
        {of_host if on_host else ""}""")
    (place / "run").mkdir()
    calls: list[events.GroupCall] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.GroupCall):
            calls.append(event)

    with events.listening(hear):
        group_recipe(Run(recipe="group", flags=RecipeOptions(), directory=place / "run"), str(job))
    (call,) = calls
    reasons = ["the tests of board have ended", *["the tests of the host have ended"][: int(on_host)]]
    assert call.error == f"wait never cannot be met any more: {'; '.join(reasons)}"
    assert call.duration_s < LIMIT_S


@pytest.mark.usefixtures("rehearsal")
def test_a_dry_run_names_a_host_and_starts_nothing(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(recipe="group", flags=RecipeOptions(dry_run=True), directory=tmp_path)
    with pytest.raises(Exit, match=r"^$"), run.group({"host": Role(on=on(board)), "vm": "bookworm"}):
        pytest.fail("it has started")
    host, vm = capsys.readouterr().out.splitlines()
    assert host == f"# host: {on(board)}, which runs already"
    assert vm.startswith("qemu-system-x86_64 ")


@pytest.mark.usefixtures("rehearsal")
def test_a_host_alone_is_a_group_too(board: Board) -> None:
    with boot_group({"one": "bookworm"}, on=on(board)) as group:
        assert group["one"].succeed("lava-self") == "one\n"
    with (
        pytest.raises(UsageError, match=r"cannot have 2 members of a group at ssh://root@127\.0\.0\.1:"),
        boot_group({"one": "bookworm", "other": "bookworm"}, on=on(board)),
    ):
        pytest.fail("it is one machine")


@pytest.mark.usefixtures("rehearsal")
def test_a_host_that_is_reset_is_a_member_again(board: Board, place: Path) -> None:
    with switched_power(board, place) as settings:
        settings(f"reset = 'touch {place}/pressed'")
        with boot_group(roles(board)) as group:
            group["host"].hard_reset(timeout_s=LIMIT_S)
            group["vm1"].run("lava-send after")
            assert group["host"].succeed("lava-wait after && lava-self") == "host\n"


# --- what is missing, and what goes wrong


@pytest.mark.usefixtures("rehearsal")
def test_a_host_that_is_lost_ends_the_group(board: Board) -> None:
    with (
        pytest.raises(ConnectionLost, match=r"cannot go on at 127\.0\.0\.1: .*; host is essential"),
        boot_group(roles(board)) as group,
    ):
        wait_in_vain(group, board)


def wait_in_vain(group: Group, board: Board) -> None:
    threading.Timer(0.3, board.forget_holder).start()
    group["vm1"].run("lava-wait never")


@pytest.mark.usefixtures("rehearsal")
def test_a_host_without_perl_is_no_member(board: Board) -> None:
    board.answers["perl -e"] = "echo $$; echo perl: not found >&2; exit 127"
    with (
        pytest.raises(HostError, match=r"host cannot be a member of the group: .*perl: not found"),
        boot_group({"host": Role(on=on(board))}),
    ):
        pytest.fail("it has no verbs")


def test_two_hosts_that_are_one_are_refused_before_anything_starts(board: Board) -> None:
    twice = {"one": Role(on=on(board)), "other": Role(on=on(board).replace("root@", ""))}
    with (
        pytest.raises(UsageError, match=r"2 roles of the group are 127\.0\.0\.1"),
        boot_group(twice),
    ):
        pytest.fail("it has started")


# --- all or none


@contextmanager
def lent_to_another(board: Board, *, waits: bool = True) -> Iterator[None]:
    """Have another program have the host in the block."""
    request = MachineRequest(image="", options=BootOptions(name="host"), purpose="a neighbour")
    with StaticHost.at(on(board)).reached(request) as visit, visit.reserved(waits=waits):
        yield


def all_slots(rehearsal: Rehearsal) -> Claim:
    """Return another program's claim for all slots of this host."""
    return Claim("other", 64, Limits(machines=2, memory_mib=9999), directory=rehearsal.queue, beside=[("other", 64)])


def claims(rehearsal: Rehearsal) -> list[str]:
    """Return who claims slots, and how each stands, in the queue's order."""
    return [f"{one.purpose.rpartition(' ')[2]} {one.state}" for one in tickets(rehearsal.queue)]


@pytest.fixture
def started(board: Board, rehearsal: Rehearsal) -> Iterator[Callable[[], Future[str]]]:
    """Return what starts a group in a thread; what that brings is what its host prints."""

    def run() -> str:
        with boot_group(roles(board)) as group:
            return str(group["host"].succeed("lava-self"))

    with ThreadPoolExecutor() as pool:
        yield lambda: pool.submit(run)


def test_who_waits_for_a_host_holds_no_slots_and_who_waits_for_slots_holds_no_host(
    board: Board, rehearsal: Rehearsal, started: Callable[[], Future[str]]
) -> None:
    aside = ["vm1 withheld", "vm2 withheld"]
    with ExitStack() as slots:
        with lent_to_another(board):
            group = started()
            until("group that stands aside", lambda: claims(rehearsal) == aside, LIMIT_S)
            others = slots.enter_context(all_slots(rehearsal))
            assert others.poll() == (), "who waits for the host is in nobody's way"
        waits = ["vm1 waiting", "vm2 waiting", "other running", "other running"]
        until("group that waits for slots", lambda: claims(rehearsal) == waits, LIMIT_S)
        with lent_to_another(board):  # which it has given back
            slots.close()
            until(
                "group that stands aside again", lambda: claims(rehearsal) == ["vm1 withheld", "vm2 withheld"], LIMIT_S
            )
        assert group.result(LIMIT_S) == "host\n"
    assert claims(rehearsal) == []


def test_groups_that_need_the_same_come_through_one_after_the_other(
    rehearsal: Rehearsal, started: Callable[[], Future[str]]
) -> None:
    groups = [started() for _ in range(3)]
    assert [one.result(LIMIT_S) for one in groups] == ["host\n"] * 3
    assert claims(rehearsal) == []


@pytest.mark.parametrize("taken", ["slots", "host"])
def test_the_limit_of_a_group_is_for_its_waiting_as_well(taken: str, board: Board, rehearsal: Rehearsal) -> None:
    with all_slots(rehearsal) if taken == "slots" else lent_to_another(board) as other:
        assert not isinstance(other, Claim) or other.poll() == ()

        def start() -> None:
            with boot_group(roles(board), timeout_s=1):
                pytest.fail("it has started")

        with (
            ThreadPoolExecutor(1) as pool,
            pytest.raises(TimedOut, match="the group did not end within 1 s"),
        ):
            pool.submit(start).result(LIMIT_S)
    assert claims(rehearsal) == []


def test_who_does_not_wait_is_told_who_has_the_host(board: Board, rehearsal: Rehearsal) -> None:
    with (
        boot_group({"host": Role(on=on(board))}),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(HostInUseError, match=r"cannot have 127\.0\.0\.1: a group: host of .* has it"),
    ):
        pool.submit(lent_to_another(board, waits=False).__enter__).result(LIMIT_S)
