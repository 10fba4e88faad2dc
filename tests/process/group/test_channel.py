"""The verbs of a group in machines that are none: real ssh, real programs, and a home directory in the place of /."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from tests.waiting import until
from vmtasks import events
from vmtasks.errors import TestFailed, VmtasksError
from vmtasks.group import channel, wire
from vmtasks.group.channel import MemberChannel
from vmtasks.group.guest_programs import GuestPaths, join_command, joined_with
from vmtasks.group.hub import Hub
from vmtasks.group.roles import Role, members_of
from vmtasks.guest import Guest
from vmtasks.process.threads import parallel
from vmtasks.providers.base import BootOptions, MachineRequest
from vmtasks.ssh.command import CommandSpec
from vmtasks.testing.fake_provider import FakeProvider

MEMBERS = members_of({"server": Role(image="x"), "client": Role(image="x", count=2)})
PATHS = GuestPaths(verbs="bin", socket="run/socket", cache="own")
"""Relative ones: each member has a directory of its own here."""
LIMIT_S = 20.0


class Rehearsal:
    """Three members without machines."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.guests: dict[str, Guest] = {}
        self.calls: list[events.GroupCall] = []
        self.lost: list[VmtasksError] = []

    def __call__(self, member: str, line: str) -> str:
        """Run a line in a member and return what it printed, with its exit status."""
        result = self.guests[member].run(f"PATH=$PWD/bin:$PATH; {line}", warn=True, hide=True, timeout_s=LIMIT_S)
        return f"{result.stdout}{result.stderr}{result.exited}"


def no_check() -> None:
    pass


@contextmanager
def rehearsed(timeout_s: float = LIMIT_S) -> Iterator[Rehearsal]:
    with ExitStack() as stack:
        hub = Hub(MEMBERS, timeout_s=timeout_s, check=no_check)
        stack.enter_context(hub.keeping_time())
        rehearsal = Rehearsal(hub)
        for member in MEMBERS:
            request = MachineRequest(image="bookworm", options=BootOptions(name=member.name))
            guest = stack.enter_context(FakeProvider().machine(request))
            served = MemberChannel(member, MEMBERS, guest, hub, rehearsal.lost.append, paths=PATHS, has_network=False)
            served.join()
            served.start()
            stack.callback(served.stop)
            rehearsal.guests[member.name] = guest

        def hear(event: events.Event) -> None:
            if isinstance(event, events.GroupCall):
                rehearsal.calls.append(event)

        stack.enter_context(events.listening(hear))
        yield rehearsal


@pytest.fixture(scope="module")
def shared() -> Iterator[Rehearsal]:
    with rehearsed() as rehearsal:
        yield rehearsal


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("lava-self", "client2\n0"),
        ("lava-role", "client0"),
        ("lava-role list", "server\nclient\nclient\n0"),
        ("lava-group", "server\tserver\nclient1\tclient\nclient2\tclient\n0"),
        ("lava-group client", "client1\nclient20"),
        ("lava-group | awk '{print $1}' | head -1", "server\n0"),
        ("lava-group clie", "1"),
        ("lava-send", "usage: lava-send ID [KEY=VALUE]... [--file KEY=PATH]...\n1"),
        ("lava-wait", "usage: lava-wait ID\n1"),
        ("lava-wait-all a client more", "usage: lava-wait-all ID [ROLE]\n1"),
        ("lava-role lst", "usage: lava-role [list]\n1"),
        ("lava-send a=b", "lava-send: 'a=b' is no id of a message: that is one word, and has no equals sign\n1"),
        (
            "lava-wait-all x cilent",
            "lava-wait-all: there is no role 'cilent' in the group; there are server, client\n1",
        ),
        ("lava-send words nonsense a=1 =2", "lava-send: nonsense =2: left out, for a pair is KEY=VALUE\n0"),
        ("lava-send file --file a=nothing", "lava-send: nothing: No such file or directory\n1"),
    ],
)
def test_what_a_verb_prints_and_how_it_ends(shared: Rehearsal, line: str, printed: str) -> None:
    assert shared("client2", line) == printed


def test_a_message_arrives_whole_whatever_is_in_it(shared: Rehearsal) -> None:
    value = "a=b  'c' \"d\" > <e> $f \\g\n\th ü *"
    shared.guests["server"].run(["bin/lava-send", "odd", f"key={value}", "empty=", "two=2"])
    assert shared("client1", "lava-wait odd && cat own_cache.txt") == (
        f"server:key={value}\nserver:empty=\nserver:two=2\n0"
    )
    assert shared.hub.wait("odd") == {"server": {"key": value, "empty": "", "two": "2"}}


def test_a_message_carries_a_mebibyte(shared: Rehearsal) -> None:
    made = "perl -e 'print join(\"\", map { chr(33 + $_ % 90) } 1 .. 1048576)' >big"
    assert shared("server", f"{made}; lava-send big --file data=big") == "0"
    got = "lava-wait big; sed 's/^server:data=//' own_cache.txt | tr -d '\\n' | md5sum"
    assert shared("client1", got) == shared("server", "md5sum <big")
    assert "a message carries at most" in shared("server", "cat big big >bigger; lava-send bigger --file data=bigger")
    assert shared("server", "lava-send big --file data=big more=1") == (
        "lava-send: a message carries at most 1048576 characters, its values together\n1"
    )


def test_the_cache_file_is_of_the_last_wait_alone(shared: Rehearsal) -> None:
    shared("server", "lava-send one a=1; lava-send none")
    assert shared("client1", "lava-wait one; cut -d = -f 2 own_cache.txt") == "1\n0"
    assert shared("client1", "lava-send two b=2; cat own_cache.txt") == "server:a=1\n0"
    assert shared("client1", "lava-wait none; ls own_cache.txt 2>/dev/null") == "2"
    assert shared(
        "client1", "ln -s elsewhere own_cache.txt; lava-wait two; cat own_cache.txt; ls elsewhere 2>&1 | wc -l"
    ) == ("client1:b=2\n1\n0")


def test_verbs_work_in_pipes_in_the_background_without_input_and_several_at_once(shared: Rehearsal) -> None:
    waits = "for n in 1 2 3 4 5 6 7 8; do lava-wait many$n </dev/null & done; wait; echo all | cat"
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(shared("client1", waits)))
    thread.start()
    until("eight waits", lambda: sum("many" in one for one in shared.hub.waits()) == 8, LIMIT_S)
    assert (
        shared("server", "echo x=1 | xargs lava-send many1; for n in 2 3 4 5 6 7 8; do lava-send many$n; done") == "0"
    )
    thread.join()
    assert results == ["all\n0"]


def test_a_barrier_holds_until_all_are_there_and_quickly_lets_go(shared: Rehearsal) -> None:
    for _ in range(2):
        ends: dict[str, float] = {}

        def come(member: str) -> None:
            assert shared(member, "lava-sync start") == "0"
            ends[member] = time.monotonic()  # noqa: B023 - it is over before the next round

        early = threading.Thread(target=parallel, args=[partial(come, name) for name in ("server", "client1")])
        early.start()
        until("two at the barrier", lambda: len(shared.hub.waits()) == 2, LIMIT_S)
        assert not ends
        come("client2")
        early.join()
        assert max(ends.values()) - min(ends.values()) < 5


def test_the_host_has_its_say(shared: Rehearsal) -> None:
    shared.hub.send("go", where="there")
    assert shared("client1", "lava-wait go; cat own_cache.txt") == "host:where=there\n0"
    shared("client1", "lava-send back a=1")
    assert shared.hub.wait("back") == {"client1": {"a": "1"}}
    with pytest.raises(
        TestFailed, match=r"^the host's wait-all back client was not met within 0\.1 s: client2 has not"
    ):
        shared.hub.wait_all("back", "client", timeout_s=0.1)


def test_a_verb_that_is_ended_waits_no_longer(shared: Rehearsal) -> None:
    assert shared("client1", "timeout 0.5 lava-wait never-sent; lava-self") == "client1\n0"
    until("end of the wait", lambda: not any("never-sent" in one for one in shared.hub.waits()), LIMIT_S)


def test_a_wait_ends_at_its_deadline_with_a_status_and_a_sentence() -> None:
    with rehearsed(timeout_s=0.5) as rehearsal:
        assert rehearsal("server", "set -e; lava-wait never; echo not reached") == (
            "lava-wait: wait never was not met within 0.5 s: nobody has sent it\n1"
        )
        (call,) = rehearsal.calls
        assert (call.machine, call.verb, call.id, call.outcome) == ("server", "wait", "never", "failed")
        assert call.waited_for == ("server", "client1", "client2")
        assert 0.5 <= call.duration_s < 5


def test_a_wait_for_one_that_goes_ends_at_once() -> None:
    with rehearsed() as rehearsal:
        results: list[str] = []
        thread = threading.Thread(target=lambda: results.append(rehearsal("server", "lava-wait-all up client")))
        thread.start()
        until("a wait", rehearsal.hub.waits, LIMIT_S)
        began_s = time.monotonic()
        rehearsal.hub.gone("client2", "the kernel of client2 panicked")
        thread.join()
        assert time.monotonic() - began_s < 1
        assert results == [
            "lava-wait-all: wait-all up client cannot be met any more: the kernel of client2 panicked\n1"
        ]


def test_one_may_wait_for_the_hosts_side_when_all_others_are_gone() -> None:
    with rehearsed() as rehearsal:
        for name in ("client1", "client2"):
            rehearsal.hub.gone(name, f"{name} has gone")
        results: list[str] = []
        thread = threading.Thread(target=lambda: results.append(rehearsal("server", "lava-wait go")))
        thread.start()
        until("a wait", rehearsal.hub.waits, LIMIT_S)
        rehearsal.hub.send("go")
        thread.join()
        assert results == ["0"]
        rehearsal.hub.host_gone("")
        assert rehearsal("server", "lava-wait more") == (
            "lava-wait: wait more cannot be met any more: client1 has gone; client2 has gone\n1"
        )


RAW = """perl -MSocket -e '
    socket my $s, PF_UNIX, SOCK_STREAM, 0; connect $s, sockaddr_un("run/socket") or die; $SIG{PIPE} = "IGNORE";
    my $all = pack("N", 9 << 20) . "lava-send\\0x\\0a=" . "y" x (9 << 20);
    while (length $all) { my $n = syswrite $s, $all or last; substr $all, 0, $n, "" }
    print sysread($s, my $x, 1) ? "heard" : "gone"'
"""


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        (
            "head -c 9437184 /dev/zero | tr '\\0' y >big; lava-send x --file a=big",
            "lava-send: a message carries at most 1048576 characters, its values together\n1",
        ),
        (
            "yes | lava-send x --file a=/dev/stdin",
            "lava-send: a message carries at most 1048576 characters, its values together\n1",
        ),
        (RAW, "gone0"),
    ],
)
def test_who_sends_too_much_is_refused_alone(line: str, printed: str) -> None:
    with rehearsed() as rehearsal:
        results: list[str] = []
        thread = threading.Thread(target=lambda: results.append(rehearsal("server", "lava-wait go")))
        thread.start()
        until("a wait", rehearsal.hub.waits, LIMIT_S)
        assert rehearsal("server", line) == printed
        assert results == []
        assert rehearsal("server", "lava-send go") == "0"
        thread.join()
        assert results == ["0"]
        assert [(call.verb, call.outcome) for call in rehearsal.calls] == [("send", "passed"), ("wait", "passed")]


def test_a_frame_that_is_too_long_is_refused_and_no_others_call_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LONGEST_BYTES", 100_000)
    with rehearsed() as rehearsal:
        results: list[str] = []
        thread = threading.Thread(target=lambda: results.append(rehearsal("server", "lava-wait go")))
        thread.start()
        until("a wait", rehearsal.hub.waits, LIMIT_S)
        assert rehearsal("server", "head -c 200000 /dev/zero | tr '\\0' y >big; lava-send go --file a=big") == (
            "lava-send: a message carries at most 1048576 characters, its values together\n1"
        )
        assert results == []
        assert rehearsal("server", "lava-send go") == "0"
        thread.join()
        assert results == ["0"]


LOOK = "until [ -e over ]; do [ -x bin/lava-self ] && [ -x bin/lava-sync ] && [ -x bin/lava-network ] || exit 9; done"


def test_programs_are_never_away_while_a_machine_joins_again() -> None:
    with rehearsed() as rehearsal:
        guest = rehearsal.guests["client1"]
        looked: list[str] = []
        thread = threading.Thread(target=lambda: looked.append(rehearsal("client1", LOOK)))
        thread.start()
        for _ in range(20):
            guest.query(join_command(PATHS, MEMBERS[1], has_network=False), stdin=joined_with(PATHS, MEMBERS))
        guest.query(["touch", "over"])
        thread.join()
        assert looked == ["0"]
        assert [one for one in guest.query("ls -A bin").split() if one.startswith(".")] == []


KILL = """
for process in /proc/[0-9]*; do
    [ "$(readlink $process/cwd)" = "$PWD" ] && tr '\\0' ' ' <$process/cmdline | grep -q ^perl && kill ${process#/proc/}
done; :
"""


def test_an_agent_that_is_ended_comes_back_and_no_other_member_notices() -> None:
    with rehearsed() as rehearsal:
        before = rehearsal("client1", "stat -c %z run/socket")
        rehearsal.guests["client1"].query(KILL)

        def is_another() -> bool:
            now = rehearsal("client1", "stat -c %z run/socket")
            return now != before and now.endswith("\n0")  # and not away, as the socket is for a moment

        until("another agent", is_another, LIMIT_S)
        assert rehearsal("client1", "lava-send again x=1") == "0"
        assert rehearsal("server", "lava-wait again; sed -n 1p own_cache.txt || true") == "client1:x=1\n0"
        assert not rehearsal.lost


def test_a_member_whose_connection_is_made_anew_stays_one() -> None:
    """As after a reboot."""
    with rehearsed() as rehearsal:
        before = rehearsal("client1", "stat -c %z run/socket")
        rehearsal.guests["client1"].wait_up(timeout_s=LIMIT_S)

        def is_another() -> bool:
            now = rehearsal("client1", "stat -c %z run/socket")
            return now != before and now.endswith("\n0")  # and not away, as the socket is for a moment

        until("another agent", is_another, LIMIT_S)
        assert rehearsal("client1", "lava-self") == "client1\n0"
        assert not rehearsal.lost


def test_a_member_that_is_lost_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with rehearsed() as rehearsal:

        def bad_news(_: float) -> None:
            raise TestFailed("client1 is gone: it powered itself off")

        monkeypatch.setattr(rehearsal.guests["client1"], "watch", bad_news)
        until("the loss", lambda: rehearsal.lost, LIMIT_S)
        assert str(rehearsal.lost[0]) == "client1 is gone: it powered itself off"


def test_what_a_guest_is_given_to_run_is_sound() -> None:
    perl, option, program, *_ = join_command(PATHS, MEMBERS[0], has_network=True)
    assert subprocess.run([perl, "-c", option, program], capture_output=True, check=False).returncode == 0


def test_members_tell_each_other_what_their_cards_are_like(shared: Rehearsal) -> None:
    card = "sed -i '2i ip() { echo 1: lo inet 198.18.0.7/20 brd 198.18.15.255 scope global lo; }' bin/lava-network"
    for member in ("server", "client1", "client2"):
        assert shared(member, f"{card}; lava-network broadcast lo") == "0"
    assert shared("client1", "lava-network query server ipv4") == "lava-network: nothing was collected yet\n1"
    assert shared("client1", "lava-network collect lo client; lava-network query server ipv4") == "198.18.0.7\n0"
    assert shared("client1", "lava-network query server netmask; lava-network query serv ipv4") == "255.255.240.0\n0"
    assert shared("client1", "lava-network query server mac") == "00:00:00:00:00:00\n0"
    assert shared("client1", "echo first >h; lava-network hosts h; cat h") == (
        "first\n198.18.0.7\tserver\n198.18.0.7\tclient1\n198.18.0.7\tclient2\n0"
    )
    assert shared("client1", "lava-network alias-hosts a; cat a") == (
        "198.18.0.7\tserver\tserver01\n198.18.0.7\tclient1\tclient01\n198.18.0.7\tclient2\tclient02\n0"
    )
    assert shared("client1", "lava-network nonsense x").startswith("usage: ")
    assert shared("client1", "lava-network broadcast no0") == "lava-network: there is no interface no0\n1"


def test_a_hundred_messages_do_not_take_long(shared: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    began_s = time.monotonic()
    assert shared("client1", "i=0; while [ $i -lt 100 ]; do lava-send m$i a=1; i=$((i+1)); done") == "0"
    took_s = time.monotonic() - began_s
    with capsys.disabled():
        print(f"\n{100 / took_s:.0f} messages/s, one after the other")  # noqa: T201
    assert took_s < LIMIT_S


def test_a_guest_that_leaves_too_much_unread_gets_a_new_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    with rehearsed() as rehearsal:
        rehearsal.hub.send("big", a="x" * 10_000)
        assert rehearsal("client1", "lava-wait big; wc -c <own_cache.txt") == "10008\n0"
        monkeypatch.setattr(channel, "_UNREAD_BYTES", 1000)
        assert rehearsal("client1", "lava-wait big") == "lava-wait: the host has gone away\n1"
        assert rehearsal("client1", "lava-self") == "client1\n0"
        assert not rehearsal.lost


def test_a_guest_that_greets_without_end_gets_a_new_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    with rehearsed() as rehearsal:
        session = rehearsal.guests["client1"]._session
        line = session.line
        began: list[CommandSpec] = []

        def babble(spec: CommandSpec) -> str:
            if spec.command != tuple(channel.agent_command(PATHS)):
                return line(spec)
            began.append(spec)
            return "head -c 20000 /dev/zero; sleep 60"

        monkeypatch.setattr(channel, "_GREETING_BYTES", 10_000)
        monkeypatch.setattr(session, "line", babble)
        rehearsal.guests["client1"].query(KILL)
        until("a second agent", lambda: len(began) > 1, LIMIT_S)
        monkeypatch.setattr(session, "line", line)  # what the second one says is still too much
        until("an agent of ours", lambda: rehearsal("client1", "lava-self") == "client1\n0", LIMIT_S)
