"""The recipe `group` and groups in recipes, in machines that are none: who runs what, and how a group ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import Exit

from recipes.group import group
from tests.group_roles import roles
from tests.process.asked import AskedProvider
from tests.process.workshop import PROVIDER
from vmtasks import (
    BootError,
    CommandFailed,
    Group,
    Guest,
    GuestLost,
    Interrupted,
    Preparation,
    Project,
    Result,
    Role,
    Run,
    TestFailed,
    TimedOut,
    UsageError,
    boot_group,
    events,
    use_provider,
)
from vmtasks.errors import HostError
from vmtasks.providers.base import MachineRequest
from vmtasks.run.options import RecipeOptions
from vmtasks.testing import FakeProvider

ROLES = roles(client="count = 2\n")


@pytest.fixture(autouse=True)
def _fakes() -> Iterator[None]:
    with use_provider(PROVIDER):
        yield


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "run").mkdir()
    return Run(recipe="group", flags=RecipeOptions(), directory=tmp_path / "run")


@pytest.fixture
def cases() -> Iterator[dict[str, str]]:
    found: dict[str, str] = {}

    def hear(event: events.Event) -> None:
        if isinstance(event, events.CaseEnded):
            found[event.case] = event.outcome

    with events.listening(hear):
        yield found


def job(tmp_path: Path, text: str) -> str:
    path = tmp_path / "job.toml"
    path.write_text(ROLES + text)
    return str(path)


def test_each_role_runs_its_tests_in_their_order_and_a_failure_does_not_end_them(
    run: Run, tmp_path: Path, cases: dict[str, str]
) -> None:
    tests = """
    [[tests]]
    name = "first"
    run = "echo 1 >file"

    [[tests]]
    name = "fails"
    roles = ["client"]
    run = "test -e file; false"

    [[tests]]
    name = "last"
    roles = ["client", "server"]
    env = { WORD = "two words" }
    run = '''
    set -e
    [ "$WORD" = "two words" ]
    test -e file
    '''

    [[tests]]
    name = "outside"
    roles = ["host"]
    run = "echo seen; env | grep -c ^SSH_CLIENT; exit 3"
    """
    group(run, job(tmp_path, tests))
    assert cases == {
        "server: first": "passed",
        "client1: first": "passed",
        "client2: first": "passed",
        "client1: fails": "test-failed",
        "client2: fails": "test-failed",
        "server: last": "passed",
        "client1: last": "passed",
        "client2: last": "passed",
        "host: outside": "test-failed",
    }
    assert [*run.failed] == [*dict.fromkeys(run.failed)]
    assert run.failed["host: outside"].details == ("seen", "2")


def test_a_test_that_takes_too_long_ends_the_group_for_all(run: Run, tmp_path: Path) -> None:
    tests = """
    [[tests]]
    name = "hangs"
    roles = ["server"]
    timeout_s = 1
    run = "sleep 100"

    [[tests]]
    name = "waits"
    roles = ["client"]
    run = "sleep 100"

    [[tests]]
    name = "on the host"
    roles = ["host"]
    run = "sleep 100"
    """
    began_s = time.monotonic()
    with pytest.raises(TimedOut, match="on server did not end within 1 s"):
        group(run, job(tmp_path, tests))
    assert time.monotonic() - began_s < 60


def test_a_machine_that_goes_in_a_test_ends_the_group_at_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Guest.run

    def run_or_go(guest: Guest, command: str, **options: Any) -> Result:
        if command == "go" and guest.name == "server":
            raise GuestLost("server is gone: it did not come back")
        return own(guest, command, **options)

    monkeypatch.setattr(Guest, "run", run_or_go)
    tests = """
    [[tests]]
    name = "goes"
    roles = ["server"]
    run = "go"

    [[tests]]
    name = "waits"
    roles = ["client"]
    run = "sleep 100"
    """
    began_s = time.monotonic()
    with pytest.raises(GuestLost, match="it did not come back; server is essential, and so the group ended"):
        group(run, job(tmp_path, tests))
    assert time.monotonic() - began_s < 60


def test_a_group_has_a_limit_of_time() -> None:
    slow = boot_group({"a": "bookworm"}, timeout_s=0.5)
    with pytest.raises(TimedOut, match=r"the group did not end within 0\.5 s"), slow as group:
        group.watch(60)


def test_members_are_found_by_role_and_by_name() -> None:
    with boot_group({"server": "bookworm", "client": Role(image="bookworm", count=2)}) as group:
        assert group["server"].name == "server"
        assert [guest.name for guest in group["client"]] == ["client1", "client2"]
        assert group["client2"].name == "client2"
        assert [guest.name for guest in group.guests()] == ["server", "client1", "client2"]
        results = group.run_all("pwd", role="client")
        assert [*results] == ["client1", "client2"]
        assert len({result.stdout for result in group.run_all("pwd").values()}) == 3
        with pytest.raises(UsageError, match="did you mean 'server'"):
            group["servr"]
        with pytest.raises(UsageError, match="no network of its own"):
            group.network.cut("server", "client")


def test_one_that_fails_in_run_all_does_not_keep_the_others_from_their_end() -> None:
    with boot_group({"node": Role(image="bookworm", count=3)}) as group:
        group["node2"].run("touch no")
        with pytest.raises(CommandFailed, match="on node2 ended with status 1"):
            group.run_all("[ ! -e no ] && touch done")
        assert group["node3"].run("test -e done").ok


def client_goes(then: Callable[[Group], object]) -> GuestLost:
    """Return what a group ends with whose client panics while it does *then*."""
    news = GuestLost("client is gone: it panicked", details=("Kernel panic",))
    try:
        with boot_group({"server": "bookworm", "client": "bookworm"}) as group:
            threading.Timer(0.3, group.lost, (group.members[1], news)).start()
            then(group)
    except GuestLost as ended:
        return ended
    pytest.fail("the group went on")


def test_the_host_waits_for_messages_no_longer_than_the_group_lives() -> None:
    ended = client_goes(lambda group: group.wait("never"))
    assert str(ended) == "client is gone: it panicked; client is essential, and so the group ended"
    wait, panic = ended.details
    assert wait.startswith("host has waited in wait never for 0.")
    assert wait.endswith(" s: nobody has sent it")
    assert panic == "Kernel panic"
    assert isinstance(ended.__cause__, Interrupted)


def test_a_wait_of_no_seconds_is_a_look() -> None:
    with boot_group({"server": "bookworm"}) as group:
        for look in (group.wait, group.wait_all):
            with pytest.raises(TestFailed, match="x was not met within 0 s"):
                look("x", timeout_s=0)
        group.send("x")
        assert group.wait("x", timeout_s=0) == {"host": {}}


def test_commands_end_with_the_group() -> None:
    began_s = time.monotonic()
    assert "client is gone" in str(client_goes(lambda group: group["server"].run("sleep 100")))
    assert time.monotonic() - began_s < 60


def test_one_that_is_not_essential_may_go() -> None:
    roles = {"server": Role(image="bookworm"), "client": Role(image="bookworm", essential=False)}
    with boot_group(roles) as group:
        group.lost(group.members[1], GuestLost("client is gone"))
        assert group["server"].run("true").ok
        group.check()


class Broken(FakeProvider):
    """Has machines that do not boot: those whose names begin with ``client``."""

    @contextmanager
    def machine(self, request: MachineRequest) -> Iterator[Guest]:
        if request.name.startswith("client"):
            raise BootError(f"{request.name} did not boot: its kernel panicked")
        with super().machine(request) as guest:
            yield guest


MAY_BREAK = {"server": Role(image="bookworm"), "client": Role(image="bookworm", essential=False)}


def test_one_that_is_not_essential_need_not_boot() -> None:
    notes: list[str] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Note) and event.machine == "client":
            notes.append(event.text)

    with events.listening(hear), use_provider(Broken()), boot_group(MAY_BREAK) as group:
        assert [guest.name for guest in group.guests()] == ["server"]
        assert [*group.run_all("true")] == ["server"]
        for use in (
            lambda: group["client"],
            lambda: group.guests("client"),
            lambda: group.run_all("true", role="client"),
        ):
            with pytest.raises(BootError, match="client is not there: client did not boot: its kernel panicked"):
                use()
        assert {name: str(why) for name, why in group.gone.items()} == {
            "client": "client did not boot: its kernel panicked"
        }
        with pytest.raises(TestFailed, match="cannot be met any more: client did not boot: its kernel panicked"):
            group.wait_all("ready", role="client")
    assert notes == [
        "client did not come up, and the group goes on without it: client did not boot: its kernel panicked"
    ]


def test_those_of_a_role_that_boot_are_there_and_one_at_least_has_to() -> None:
    class Second(Broken):
        @contextmanager
        def machine(self, request: MachineRequest) -> Iterator[Guest]:
            with (
                FakeProvider.machine(self, request) if request.name == "client2" else super().machine(request) as guest
            ):
                yield guest

    roles = {"client": Role(image="bookworm", count=2, essential=False)}
    with use_provider(Second()), boot_group(roles) as group:
        assert [guest.name for guest in group["client"]] == ["client2"]
        with pytest.raises(BootError, match="client1 is not there"):
            group["client1"]
    with (
        use_provider(Broken()),
        pytest.raises(BootError, match="client1 did not boot: its kernel panicked"),
        boot_group(roles),
    ):
        pytest.fail("it has started")
    with use_provider(Broken()), pytest.raises(BootError), boot_group({**MAY_BREAK, "client": "bookworm"}):
        pytest.fail("it has started")


def test_tests_of_one_that_did_not_boot_are_told_as_failed(run: Run, tmp_path: Path, cases: dict[str, str]) -> None:
    path = tmp_path / "job.toml"
    tests = """
    [[tests]]
    name = "one"
    run = "true"
    """
    path.write_text(roles(client="essential = false\n") + tests)
    with use_provider(Broken()):
        group(run, str(path))
    assert cases == {"server: one": "passed", "client: one": "test-failed"}
    assert "it was not run: client did not boot: its kernel panicked" in str(run.failed["client: one"])


def test_the_limit_of_a_group_is_for_its_start_as_well() -> None:
    class Slow(FakeProvider):
        @contextmanager
        def machine(self, request: MachineRequest) -> Iterator[Guest]:
            time.sleep(1)
            with super().machine(request) as guest:
                yield guest

    with (
        use_provider(Slow()),
        pytest.raises(TimedOut, match=r"the group did not end within 0\.5 s"),
        boot_group({"a": "bookworm", "b": "bookworm"}, timeout_s=0.5),
    ):
        pytest.fail("it has started")


def test_a_role_may_be_called_host_and_then_the_hosts_side_is_not() -> None:
    with boot_group({"host": "bookworm", "other": "bookworm"}) as group:
        group.send("go", key="value")
        assert group.wait("go") == {"_host": {"key": "value"}}


def test_each_role_may_have_a_kernel_of_its_own_unless_a_flag_says_which(run: Run) -> None:
    provider = AskedProvider()

    def kernels() -> dict[str, str]:
        return {name: options.kernel for name, options in provider.asked.items()}

    roles = {"rt": Role(image="bookworm", kernel="linux-image-rt-amd64"), "usual": Role(image="bookworm")}
    with use_provider(provider):
        with run.group(roles):
            assert kernels() == {"rt": "linux-image-rt-amd64", "usual": ""}
        with boot_group(roles):
            assert kernels() == {"rt": "linux-image-rt-amd64", "usual": ""}
        run.flags = RecipeOptions(kernel="x.deb")
        with run.group(roles):
            assert set(kernels().values()) == {"linux-image-rt-amd64", "", "x.deb"}


def test_each_member_is_profiled_where_that_was_asked_for(run: Run) -> None:
    run.flags = RecipeOptions(profile=True)
    heard: list[events.Event] = []
    with events.listening(heard.append), run.group({"one": "bookworm", "two": "bookworm"}) as group:
        group.run_all("true")
    assert [event.machine for event in heard if isinstance(event, events.Profiled)] == ["one", "two"]


def test_a_fake_plays_existing_hosts_too() -> None:
    with boot_group({"board": Role(on="ssh://root@board"), "vm": "bookworm"}) as group:
        assert [result.ok for result in group.run_all("true").values()] == [True, True]


PAIR = "ssh://root@one,ssh://root@other"


def test_with_a_pair_the_two_machines_of_a_group_are_its_hosts(run: Run) -> None:
    provider = AskedProvider()

    run.flags = RecipeOptions(on=PAIR)
    with use_provider(provider), run.group({"server": "bookworm", "client": Role(image="bookworm", cpus=2)}) as group:
        assert [member.role for member in group.members] == ["server", "client"]
    places = {name: options.on for name, options in provider.asked.items()}
    assert places == {"server": "ssh://root@one", "client": "ssh://root@other"}
    own = {"server": Role(on="ssh://mine"), "client": Role(on="ssh://other")}
    with use_provider(provider), run.group(own):
        assert (provider.asked["server-2"].on, provider.asked["client-2"].on) == ("ssh://mine", "ssh://other")


def test_a_group_that_is_no_server_and_client_is_refused_on_a_pair(run: Run) -> None:
    run.flags = RecipeOptions(on=PAIR)
    wrong: dict[int, dict[str, Role | str]] = {
        3: {"server": "bookworm", "client": Role(image="bookworm", count=2)},
        1: {"server": "bookworm", "client": Role(on="ssh://mine")},
    }
    for number, one in wrong.items():
        message = rf"cannot have this group on a pair of hosts: of its machines, {number} would be one, and not 2"
        with pytest.raises(UsageError, match=message), run.group(one):
            pytest.fail("it has started")


def test_a_machine_alone_is_on_no_pair(run: Run) -> None:
    run.flags = RecipeOptions(on=PAIR)
    with (
        pytest.raises(UsageError, match=f"cannot have one machine on several hosts: {PAIR}") as refused,
        run.boot("bookworm"),
    ):
        pytest.fail("it has started")
    assert "run.group" in refused.value.hint


def test_a_dry_run_names_the_hosts_of_a_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(recipe="group", flags=RecipeOptions(on=PAIR, dry_run=True), directory=tmp_path)
    with pytest.raises(Exit, match=r"^$"), run.group({"server": "bookworm", "client": "bookworm"}):
        pytest.fail("it has started")
    assert capsys.readouterr().out.splitlines() == [
        "# server: ssh://root@one, which runs already",
        "# client: ssh://root@other, which runs already",
    ]


def test_a_dry_run_prints_and_starts_nothing(tmp_path: Path) -> None:
    run = Run(recipe="group", flags=RecipeOptions(dry_run=True), directory=tmp_path)
    with pytest.raises(UsageError, match="cannot print the command line of one: it is a fake"), run.group({"one": "x"}):
        pytest.fail("it has started")


def test_members_bring_out_together_what_their_run_may(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMTASKS_ARTIFACTS_MIB", "1")
    with run.group({"one": "bookworm", "other": "bookworm"}) as group:
        group.run_all("head -c 700000 /dev/zero >file")
        group["one"].get("file", tmp_path / "first")
        with pytest.raises(TestFailed, match="cannot take more than 1 MiB out of the guests of one run"):
            group["other"].get("file", tmp_path / "second")


def test_members_in_two_places_are_no_group() -> None:
    from vmtasks.group.boot import group_of
    from vmtasks.group.roles import as_roles, members_of
    from vmtasks.providers.base import BootOptions, MachineRequest

    left, right = members_of(as_roles({"a": "bookworm", "b": "bookworm"}))
    requests = {
        left: MachineRequest(image="bookworm", options=BootOptions(name="a")),
        right: MachineRequest(image="bookworm", options=BootOptions(name="b", on="user@host")),
    }
    with pytest.raises(UsageError, match="in several places: local, user@host"), group_of(requests):
        pass


def test_a_machine_that_does_not_come_up_ends_the_start_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from vmtasks.group import channel

    def join(self: channel.MemberChannel) -> None:
        if self._member.name == "b":
            raise HostError("there is no room for b")

    monkeypatch.setattr(channel.MemberChannel, "join", join)
    with pytest.raises(HostError, match="there is no room for b"), boot_group({"a": "bookworm", "b": "bookworm"}):
        pytest.fail("it has started")


def test_a_member_is_as_its_run_wants_it_before_it_is_prepared(run: Run) -> None:
    limits: list[float | None] = []

    def look(guest: Guest) -> bool:
        limits.append(guest.timeout_s)
        return False

    project = Project.load(Path(__file__).resolve().parents[3] / "examples/hello")
    project = replace(project, commands=replace(project.commands, timeout_s=77.0))
    preparation = Preparation(name="a look", key="k", run=look)
    with run.group({"one": Role(image="bookworm", prepare=preparation)}, project=project):
        assert limits == [77.0]
