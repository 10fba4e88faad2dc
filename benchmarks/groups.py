"""Groups of machines: eight members against eight single copies, their messages, and what their network carries."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from benchmarks.crowd import IMAGE, crowd, pss_mib_of, room_for
from benchmarks.measurement import Rows, Samples, at_most, bake, faster, slower
from vmtasks import Group, Role, events

MEMBERS = 8
RUN_AT_MOST_TIMES = 1.2
SYNC_AT_MOST_S = 0.5
_SYNCS = 10
_SENDS = 20
_STREAM_MIB = 16
_LIMIT_S = 120.0
_PORT = 8888
_HOST_IN_USER_NETWORK = "10.0.2.2"
"""What the host is called in a guest by QEMU's user network."""

# Perl, which every image has: neither netcat nor iperf is in one.
_SINK = """use Socket; socket S, PF_INET, SOCK_STREAM, 0 or die; setsockopt S, SOL_SOCKET, SO_REUSEADDR, 1;
bind S, sockaddr_in($ARGV[0], INADDR_ANY) or die $!; listen S, 9;
while (accept my $one, S) { 1 while sysread $one, my $data, 65536; syswrite $one, "."; close $one }"""
_SOURCE = """use Socket; use Time::HiRes "time"; my ($address, $port, $mib) = @ARGV;
socket S, PF_INET, SOCK_STREAM, 0 or die; connect S, sockaddr_in($port, inet_aton($address)) or die $!;
my ($began, $data) = (time, "x" x 65536); for (1 .. $mib * 16) { syswrite(S, $data) == 65536 or die $! }
shutdown S, 1; sysread S, my $answer, 1 or die $!; print time - $began"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSample:
    """What was measured of one group."""

    running_s: float
    pss_mib: Samples
    sync_s: float
    messages_per_s: float
    between_s: float
    """How long a stream took from one member to another."""
    outward_s: float
    """How long the same stream took to the host, through QEMU's user network."""


def groups(runs: int) -> Rows:
    """Measure groups and as many single copies, in turn."""
    bake(IMAGE)
    _sample()  # the members' template is there from now on, and that of the others soon
    crowd(1)
    taken = [(crowd(MEMBERS), _sample()) for _ in range(runs)]
    members = [one for _, one in taken]
    title = f"{MEMBERS} members of a group run; against {MEMBERS} single copies"
    yield slower(title, RUN_AT_MOST_TIMES, tuple(one.running_s for one in members), tuple(s for (s, _), _ in taken))
    title = f"memory (PSS) of each of {MEMBERS} members; against {MEMBERS} single copies"
    yield slower(
        title,
        None,
        tuple(mib for one in members for mib in one.pss_mib),
        tuple(mib for (_, all_), _ in taken for mib in all_),
        unit="MiB",
    )
    yield at_most(f"a lava-sync of {MEMBERS} members", SYNC_AT_MOST_S, tuple(one.sync_s for one in members))
    rates = tuple(one.messages_per_s for one in members)
    yield at_most(f"messages a second, of {MEMBERS} members that send at once", None, rates, unit="/s")
    title = f"{_STREAM_MIB} MiB from member to member; against member to host, through QEMU's user network"
    yield faster(title, None, tuple(one.between_s for one in members), tuple(one.outward_s for one in members))


def _sample() -> GroupSample:
    from vmtasks import boot_group

    loaded_s: list[float] = []

    def notice(event: events.Event) -> None:
        if isinstance(event, events.PhaseEnded) and event.phase == "restore":
            loaded_s.append(time.monotonic())

    roles = {"node": Role(image=IMAGE, count=MEMBERS)}
    with room_for(MEMBERS), events.listening(notice), events.phase("group", detail=f"{MEMBERS} members"):
        began_s = time.monotonic()
        with boot_group(roles, network="user", purpose="a measurement of a group") as group:
            group.run_all(["true"])
            return GroupSample(
                running_s=max(loaded_s, default=time.monotonic()) - began_s,
                pss_mib=tuple(map(pss_mib_of, group.guests())),
                sync_s=max(_loop_s(group, "lava-sync bench", _SYNCS)) / _SYNCS,
                messages_per_s=MEMBERS * _SENDS / max(_loop_s(group, "lava-send bench-$n key=value", _SENDS)),
                between_s=_between_s(group),
                outward_s=_outward_s(group),
            )


def _loop_s(group: Group, verb: str, times: int) -> Samples:
    """Return how long each member took to do something so many times, all having begun at once."""
    clock = "date +%s%N"
    loop = f"for n in $(seq {times}); do {verb}; done"
    results = group.run_all(f"lava-sync begin; began=$({clock}); {loop}; echo $(($({clock}) - began))", hide=True)
    return tuple(int(result.stdout) / 1e9 for result in results.values())


def _between_s(group: Group) -> float:
    sink, source, *_ = group.guests()
    background = "cat >/run/bench-sink; setsid perl /run/bench-sink"
    sink.query(f"{background} {_PORT} </dev/null >/dev/null 2>&1 &", stdin=_SINK.encode())
    address = group.address_of(group.members[0])
    source.wait_until_succeeds(["perl", "-e", _SOURCE, address, str(_PORT), "0"], timeout_s=_LIMIT_S)
    return float(source.query(["perl", "-e", _SOURCE, address, str(_PORT), str(_STREAM_MIB)]))


def _outward_s(group: Group) -> float:
    _, source, *_ = group.guests()
    with _sink_here() as port:
        words = ["perl", "-e", _SOURCE, _HOST_IN_USER_NETWORK, str(port), str(_STREAM_MIB)]
        return float(source.query(words))


@contextmanager
def _sink_here() -> Iterator[int]:
    """Take one stream in, as the program in a member does, and yield the port that it is expected at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_LIMIT_S)

        def serve() -> None:
            with suppress(OSError):  # who sends tells what has become of it
                stream, _ = server.accept()
                with stream:
                    while stream.recv(65536):
                        pass
                    stream.sendall(b".")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(_LIMIT_S)
