"""Groups of real machines: one start, a network of their own, faults in it, messages, one end."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.waiting import until
from vmtasks import Group, Guest, GuestLost, Role, boot_group, events, parallel
from vmtasks.host import slots
from vmtasks.host.slots import tickets

ROLES = {"server": Role(image="bookworm", memory_mib=512), "client": Role(image="bookworm", memory_mib=512)}
LIMIT_S = 120.0

# Perl, because every image of ours has it, and neither ping nor netcat.
COUNT = """use Socket; socket S, PF_INET, SOCK_DGRAM, 0 or die; setsockopt S, SOL_SOCKET, SO_REUSEADDR, 1;
bind S, sockaddr_in(7777, INADDR_ANY) or die $!;
setsockopt S, 0, 35, inet_aton("239.1.2.3") . inet_aton($ARGV[0]) or die "multicast: $!";
my %n; while (recv S, my $what, 100, 0) { $n{$what}++; open my $f, ">", "/run/heard.new";
print $f "$_ $n{$_}\\n" for sort keys %n; close $f; rename "/run/heard.new", "/run/heard" }"""
SAY = """use Socket; socket S, PF_INET, SOCK_DGRAM, 0 or die; setsockopt S, SOL_SOCKET, SO_BROADCAST, 1;
my ($to, $what, $times) = @ARGV; while ($times--) { send S, $what, 0, sockaddr_in(7777, inet_aton($to)) or 1;
select undef, undef, undef, 0.02 if $times }"""
SERVE = """use Socket; socket S, PF_INET, SOCK_STREAM, 0 or die; setsockopt S, SOL_SOCKET, SO_REUSEADDR, 1;
bind S, sockaddr_in(8888, INADDR_ANY) or die $!; listen S, 9;
while (accept my $c, S) { my $n = 0; $n += $_ while $_ = sysread $c, my $data, 65536;
syswrite $c, "$n\\n"; close $c }"""
SEND = """use Socket; socket S, PF_INET, SOCK_STREAM, 0 or die;
connect S, sockaddr_in(8888, inet_aton($ARGV[0])) or die $!;
my $data = "x" x 65536; syswrite S, $data for 1 .. $ARGV[1] * 16; shutdown S, 1; print scalar <S>"""


def perl(program: str, *words: object) -> list[str]:
    return ["perl", "-e", program, *map(str, words)]


def background(guest: Guest, program: str, *words: str) -> None:
    quoted = " ".join(f"'{word}'" for word in words)
    guest.query(
        f"f=$(mktemp /run/program.XXXX); cat >$f; setsid perl $f {quoted} </dev/null >/dev/null 2>&1 &",
        stdin=program.encode(),
    )


def heard(guest: Guest) -> dict[str, int]:
    """Return how often the guest has heard each word."""
    lines = guest.query("cat /run/heard 2>/dev/null || :").splitlines()
    return {name: int(count) for name, count in (line.split() for line in lines)}


@pytest.fixture(scope="module", autouse=True)
def _room() -> Iterator[None]:
    """Have a queue of our own, with room for two groups: each could wait for the other's slots in the host's.

    What makes a template still waits in the host's queue, where nobody waits for us.
    """
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="vmtasks-slots-") as queue:
        patch.setattr(slots, "default_directory", lambda: queue)
        patch.setenv("VMTASKS_SLOTS", "4")
        yield


@pytest.fixture(scope="module")
def starts() -> Iterator[list[str]]:
    found: list[str] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.MachineStarted) and not event.machine.endswith("-template"):
            found.append(event.start)

    with events.listening(hear):
        yield found


@pytest.fixture(scope="module")
def group(starts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with boot_group(ROLES, network="none", log_dir=tmp_path_factory.mktemp("logs")) as made:
        assert starts == ["clone", "clone"]
        for guest in made.guests():
            own = guest.query("ip -4 -o address | grep -o '198[.0-9]*' | head -1").strip()
            background(guest, COUNT, own)
        yield made


def hears(group: Group, to: str, text: str, by: str = "client", at: str = "server") -> bool:
    """Have a member say something, and return whether another one has heard it."""
    group[by].query(perl(SAY, to, text, 20))
    return text in heard(group[at])


def test_members_know_each_other_by_name_and_reach_each_other(group: Group) -> None:
    for one, other in (("client", "server"), ("server", "client")):
        assert group[one].query(["getent", "hosts", other]).split()[0].startswith("198.18.0.")
        until("an answer", partial(hears, group, other, f"from-{one}", by=one, at=other), LIMIT_S)
    addresses = [guest.query("cat /sys/class/net/e*/address") for guest in group.guests()]
    assert len({line for one in addresses for line in one.split() if line.startswith("56:6d")}) == 2
    assert group["server"].query(["systemctl", "is-system-running"]) == "running\n"


def test_who_asks_for_the_address_of_the_outward_card_is_told_where_others_reach_the_member(group: Group) -> None:
    outward = "card=$(ip -4 -oneline address | awk '/ 10[.]0[.]2[.]/ { print $2 }')"
    asked = group.run_all(
        f"{outward}; lava-echo-ipv4 $card; lava-network broadcast $card && lava-network collect $card"
    )
    for member in group.members:
        assert asked[member.name].stdout == f"{member.address}\n"
        for other in group.guests():
            told = [other.query(["lava-network", "query", member.name, key]) for key in ("ipv4", "mac")]
            assert [line.rstrip("\n") for line in told] == [member.address, member.mac]


@pytest.mark.parametrize(("name", "address"), [("broadcast", "198.18.255.255"), ("multicast", "239.1.2.3")])
def test_broadcasts_and_multicasts_arrive(group: Group, name: str, address: str) -> None:
    until(name, partial(hears, group, address, name), LIMIT_S)


def test_a_stream_arrives_whole(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    background(group["server"], SERVE)
    group["client"].wait_until_succeeds(perl(SEND, "server", 0), timeout_s=LIMIT_S)
    began_s = time.monotonic()
    assert group["client"].query(perl(SEND, "server", 16)).strip() == str(16 * 1024 * 1024)
    with capsys.disabled():
        print(f"\n{16 * 8.389 / (time.monotonic() - began_s):.0f} Mbit/s between two members")  # noqa: T201


def test_a_cut_takes_effect_at_once_without_the_guest_and_heals(group: Group) -> None:
    until("words before the cut", partial(hears, group, "server", "before"), LIMIT_S)
    background(group["client"], SAY, "server", "on", "100000")
    until("words before the cut", lambda: heard(group["server"]).get("on"), LIMIT_S)
    began_s = time.monotonic()
    group.network.cut("client", "server")
    assert time.monotonic() - began_s < 0.2
    at_first = heard(group["server"])["on"]
    assert not hears(group, "server", "through-the-cut")
    assert heard(group["server"])["on"] == at_first
    group.network.heal("client", "server")
    until("words after it", lambda: heard(group["server"])["on"] > at_first, LIMIT_S)
    group["client"].query("pkill -f '[/]run/program'; :")
    background(group["client"], COUNT, group["client"].query("getent hosts client").split()[0])


def test_a_long_link_takes_its_time(group: Group) -> None:
    background(group["server"], SERVE)
    group["client"].wait_until_succeeds(perl(SEND, "server", 0), timeout_s=LIMIT_S)
    group.network.link("client", "server", delay_s=0.5)
    began_s = time.monotonic()
    group["client"].query(perl(SEND, "server", 0))
    group.network.heal()
    assert time.monotonic() - began_s > 1.5, "a handshake, and an answer: three ways at least"


def test_two_groups_do_not_hear_each_other(group: Group) -> None:
    with boot_group({"server": ROLES["server"], "client": ROLES["client"]}, network="none") as other:
        background(other["server"], COUNT, "198.18.0.1")
        until("their own", partial(hears, other, "198.18.255.255", "theirs"), LIMIT_S)
        until("our own", partial(hears, group, "198.18.255.255", "ours"), LIMIT_S)
        assert "theirs" not in heard(group["server"])
        assert "ours" not in heard(other["server"])


def test_members_send_and_wait_and_come_together(group: Group) -> None:
    assert group["client"].query("lava-self; lava-role; echo; lava-group") == (
        "client\nclient\nserver\tserver\nclient\tclient\n"
    )
    results: dict[str, str] = {}

    def run(name: str, line: str) -> None:
        results[name] = group[name].succeed(line, timeout_s=LIMIT_S)

    parallel(
        partial(
            run,
            "server",
            "lava-send ready port=80 'what=two words=2'; lava-wait-all done client; lava-sync end; echo ok",
        ),
        partial(
            run, "client", "lava-wait ready; cat /tmp/lava_multi_node_cache.txt; lava-send done; lava-sync end; echo ok"
        ),
    )
    assert results == {"server": "ok\n", "client": "server:port=80\nserver:what=two words=2\nok\n"}
    group.send("from-host", a="1")
    assert group["server"].succeed("lava-wait from-host; cat /tmp/lava_multi_node_cache.txt") == "host:a=1\n"


def test_a_sync_takes_no_time(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    took: list[float] = []
    for number in range(3):
        began_s = time.monotonic()
        group.run_all(["lava-sync", f"s{number}"], hide=True)
        took.append(time.monotonic() - began_s)
    with capsys.disabled():
        print(f"\na sync of two members: {min(took):.2f} s, ssh included")  # noqa: T201
    assert min(took) < 10


def test_a_member_that_boots_anew_is_a_member_again(group: Group) -> None:
    group["client"].reboot()
    assert group["client"].succeed("lava-self", timeout_s=LIMIT_S) == "client\n"
    until("a word after the boot", partial(hears, group, "server", "again"), LIMIT_S)


def test_the_group_has_a_ticket_for_each_machine_and_leaves_nothing(tmp_path: Path) -> None:
    with boot_group(ROLES, log_dir=tmp_path, purpose="a test of tickets") as group:
        mine = [one.purpose for one in tickets() if one.pid == os.getpid() and "a test of tickets" in one.purpose]
        assert mine == ["a test of tickets: server", "a test of tickets: client"]
        directory = group.network.socket("server").parent
        assert directory.exists()
    assert not directory.exists()
    assert not [one for one in tickets() if "a test of tickets" in one.purpose]


def dies(guest: Guest) -> None:
    guest.query("echo 1 >/proc/sys/kernel/sysrq; (sleep 0.2; echo c >/proc/sysrq-trigger) </dev/null >/dev/null 2>&1 &")


def powers_off(guest: Guest) -> None:
    guest.query("(sleep 0.5; systemctl --force --force poweroff) </dev/null >/dev/null 2>&1 &")


@pytest.mark.parametrize(("death", "news"), [(dies, "panicked"), (powers_off, "is gone: it powered itself off")])
def test_the_death_of_an_essential_member_ends_the_group_at_once_and_says_who_waited(
    death: Callable[[Guest], None], news: str
) -> None:
    died_s = 0.0

    def end(group: Group) -> None:
        nonlocal died_s
        until("a wait", group.messages.waits, LIMIT_S)
        death(group["server"])
        died_s = time.monotonic()

    def both() -> None:
        with boot_group(ROLES, network="none") as group:
            wait = partial(group["client"].run, "lava-wait-all up server", timeout_s=LIMIT_S)
            parallel(wait, partial(end, group))

    with pytest.raises(GuestLost, match=news) as ended:
        both()
    assert time.monotonic() - died_s < 30
    assert str(ended.value).endswith("server is essential, and so the group ended")
    assert any("client has waited in wait-all up server for" in line for line in ended.value.details)


def test_one_that_is_not_essential_may_die_and_those_that_wait_for_it_learn_of_it(group: Group) -> None:
    del group
    roles = {**ROLES, "client": Role(image="bookworm", memory_mib=512, essential=False)}
    with boot_group(roles, network="none") as made:
        powers_off(made["client"])
        result = made["server"].run("lava-wait-all up client", warn=True, timeout_s=LIMIT_S)
        assert result.exited == 1
        assert "cannot be met any more: client is gone: it powered itself off" in result.stderr
        assert made["server"].succeed("echo still here") == "still here\n"
