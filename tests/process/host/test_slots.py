"""The queue among real processes, which are killed and belong to different users."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vmtasks
import vmtasks.host
import vmtasks.process
from tests.process.supervised import Lines
from vmtasks import config
from vmtasks.config import hours
from vmtasks.files import typed_json
from vmtasks.host import availability, declared, slots
from vmtasks.process import user

LIMIT_S = 30.0
NOBODY = 65534

CLAIMANT = """
import json, os, select, subprocess, sys
from vmtasks.host import slots

machines, budget_mib, claim_mib, what, uid, offspring, group = sys.argv[1:]
here = os.path.dirname(os.path.abspath(__file__))
os.umask(0o077)
if int(uid) != os.getuid():
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))

def say(*words):
    print(json.dumps(words), flush=True)

def pause(seconds):
    if select.select([0], [], [], seconds)[0]:
        sys.exit("closed")

limits = slots.Limits(machines=int(machines), memory_mib=int(budget_mib))
beside = [(f"{what}-{number}", int(claim_mib)) for number in range(2, int(group) + 1)]
with slots.Claim(what, int(claim_mib), limits, directory=here + "/queue", beside=beside) as claim:
    claim.wait(lambda ahead: say("waiting", *(f"{t.purpose} {t.uid} {t.state}" for t in ahead)), pause=pause)
    say("admitted")
    if offspring == "True":  # what a careless caller starts gets every descriptor that may be inherited
        say(subprocess.Popen(["sleep", "600"], close_fds=False, stdin=subprocess.DEVNULL).pid)
    sys.stdin.read()
"""

STAMPEDE = """
import fcntl, os, signal, sys, time
from vmtasks.host import slots

machines, number = int(sys.argv[1]), int(sys.argv[2])
here = os.path.dirname(os.path.abspath(__file__))
slots.POLL_S = 0.01

def enter():
    for lane in range(machines):
        fd = os.open(f"{here}/lane{lane}", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lane, fd
        except BlockingIOError:
            os.close(fd)
    sys.exit("more were admitted than may run")

sys.stdin.read()
limits = slots.Limits(machines=machines, memory_mib=1000)
with slots.Claim(f"claim{number}", 1, limits, directory=here + "/queue") as claim:
    claim.wait()
    lane, fd = enter()
    if lane == machines - 1:
        open(here + "/full", "w").close()
    give_up_s = time.monotonic() + 20
    while not os.path.exists(here + "/full"):  # stay until as many run at once as may
        if time.monotonic() > give_up_s:
            sys.exit("fewer were admitted than may run")
        if sum(t.state == slots.RUNNING for t in slots.tickets(here + "/queue")) > machines:
            sys.exit("more say that they run than may")
    os.close(fd)
    if number % 3 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
"""


class Claimant:
    """A process with a claim; what it says is read line by line."""

    def __init__(self, argv: list[str]) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._lines = Lines(self.process)

    def says(self) -> list[object]:
        """Return the next line, or fail."""
        return list(self._lines.next(LIMIT_S))

    def close(self) -> None:
        """Close its standard input; return when the process has ended."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(LIMIT_S)

    def kill(self) -> None:
        """Kill it with -9, and return when the kernel is done with that."""
        self.process.kill()
        self.process.wait(LIMIT_S)


Start = Callable[..., Claimant]


@pytest.fixture
def shared() -> Iterator[Path]:
    """Yield a directory like /run/lock: every user may write there. The module lies in it, and those it needs."""
    with tempfile.TemporaryDirectory(prefix="vmtasks-slots-") as name:
        shared = Path(name)
        shared.chmod(0o1777)
        for module in (vmtasks, vmtasks.host, slots, availability, config, hours, vmtasks.process, user, typed_json):
            source = Path(module.__file__)
            copy = shared / source.relative_to(Path(vmtasks.__file__).parents[1])
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
        (shared / "claimant.py").write_text(CLAIMANT)
        (shared / "stampede.py").write_text(STAMPEDE)
        yield shared


@pytest.fixture
def start(shared: Path) -> Iterator[Start]:
    """Yield what starts a claimant; all of them are gone in the end."""
    claimants: list[Claimant] = []

    def start(
        purpose: str, *, mib: int = 100, machines: int = 1, uid: int | None = None, child: bool = False, group: int = 1
    ) -> Claimant:
        words = (machines, 1000, mib, purpose, os.getuid() if uid is None else uid, child, group)
        claimants.append(Claimant([*python(shared, "claimant.py"), *map(str, words)]))
        return claimants[-1]

    yield start
    for claimant in claimants:
        with claimant.process as process:  # its end waits, and closes the pipes
            process.kill()


def python(shared: Path, script: str) -> list[str]:
    """Return what runs a script with python3 and its standard library, and nothing of ours but its neighbours."""
    return [sys.executable, "-E", "-s", "-S", str(shared / script)]


def mine(*claimants: str) -> list[str]:
    return [f"{purpose} {os.getuid()} {state}" for purpose, state in (claimant.split() for claimant in claimants)]


def test_module_rides_alone_and_light(shared: Path) -> None:
    probe = shared / "probe.py"
    probe.write_text("from vmtasks.host import slots; import sys; print(*sys.modules)")
    loaded = subprocess.run(python(shared, "probe.py"), check=True, capture_output=True, text=True).stdout.split()
    ours = {"vmtasks", "vmtasks.host", "vmtasks.host.slots", "vmtasks.process", "vmtasks.process.user"}
    ours |= {
        "vmtasks.files",
        "vmtasks.files.typed_json",
        "vmtasks.host.availability",
        "vmtasks.config",
        "vmtasks.config.hours",
    }
    assert {name for name in loaded if name.startswith("vmtasks")} == ours
    assert not {"typing", "pathlib", "subprocess", "socket", "logging", "threading"} & set(loaded)


def test_first_come_first_served_and_each_is_told_behind_whom(start: Start, shared: Path) -> None:
    first = start("first")
    assert first.says() == ["admitted"]
    second = start("second")
    assert second.says() == ["waiting", *mine("first running")]
    third = start("third")
    assert third.says() == ["waiting", *mine("first running", "second waiting")]
    assert [ticket.purpose for ticket in slots.tickets(str(shared / "queue"))] == ["first", "second", "third"]

    first.close()
    assert second.says() == ["admitted"]
    while (report := third.says()) != ["waiting", *mine("second running")]:
        assert report == ["waiting", *mine("second waiting")], "between the two looks of the second"
    second.close()
    assert third.says() == ["admitted"]
    third.close()
    assert not list((shared / "queue").iterdir())


def test_memory_bounds_and_a_small_claim_does_not_overtake(start: Start) -> None:
    first = start("first", mib=600, machines=2)
    assert first.says() == ["admitted"]
    large = start("large", mib=600, machines=2)
    assert large.says() == ["waiting", *mine("first running")]
    small = start("small", mib=100, machines=2)
    assert small.says() == ["waiting", *mine("first running", "large waiting")]
    first.close()
    assert large.says() == ["admitted"]
    while (report := small.says()) != ["admitted"]:
        assert report == ["waiting", *mine("large waiting")]


def test_killed_holder_frees_its_slot_and_leaves_nothing_behind(start: Start, shared: Path) -> None:
    holder = start("holder")
    assert holder.says() == ["admitted"]
    follower = start("follower")
    assert follower.says()[0] == "waiting"
    holder.kill()
    assert follower.says() == ["admitted"]
    (ticket,) = (shared / "queue").iterdir()
    assert json.loads(ticket.read_text())["what"] == "follower"


def test_killed_waiter_is_waited_for_no_longer(start: Start) -> None:
    holder = start("holder", mib=600, machines=2)
    assert holder.says() == ["admitted"]
    waiter = start("waiter", mib=600, machines=2)
    assert waiter.says()[0] == "waiting"
    follower = start("follower", mib=100, machines=2)
    assert follower.says() == ["waiting", *mine("holder running", "waiter waiting")]
    waiter.kill()
    assert follower.says() == ["admitted"]


def test_child_that_outlives_its_killed_parent_does_not_keep_the_slot(start: Start) -> None:
    holder = start("holder", child=True)
    assert holder.says() == ["admitted"]
    (child,) = holder.says()
    assert isinstance(child, int)
    try:
        holder.kill()
        follower = start("follower")
        assert follower.says() == ["admitted"]
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_group_gets_all_its_slots_or_none(start: Start, shared: Path) -> None:
    """Two groups of two with three slots: were they taken one by one, each could hold what the other waits for."""
    single = start("single", machines=3)
    assert single.says() == ["admitted"]
    left = start("left", machines=3, group=2)
    assert left.says() == ["admitted"]
    right = start("right", machines=3, group=2)
    assert right.says() == ["waiting", *mine("single running", "left running", "left-2 running")]
    late = start("late", machines=3)
    ahead = ("single running", "left running", "left-2 running", "right waiting", "right-2 waiting")
    assert late.says() == ["waiting", *mine(*ahead)]
    single.close()
    assert right.says() == ["waiting", *mine("left running", "left-2 running")]
    states = {ticket.purpose: ticket.state for ticket in slots.tickets(str(shared / "queue"))}
    assert (states["right"], states["right-2"], states["late"]) == ("waiting",) * 3, "one slot is free, and stays so"
    left.close()
    assert right.says() == ["admitted"]
    states = {ticket.purpose: ticket.state for ticket in slots.tickets(str(shared / "queue"))}
    assert (states["right"], states["right-2"]) == ("running", "running")
    right.close()
    while (report := late.says()) != ["admitted"]:
        assert report[0] == "waiting"


def test_each_machine_of_a_group_has_a_ticket_that_other_versions_read(start: Start, shared: Path) -> None:
    group = start("group", machines=4, group=3)
    assert group.says() == ["admitted"]
    written = [json.loads(ticket.read_text()) for ticket in sorted((shared / "queue").iterdir())]
    assert [one.pop("what") for one in written] == ["group", "group-2", "group-3"]
    alike = {"state": "running", "user": user.user_name(), "pid": group.process.pid, "memory_mib": 100}
    assert written == [alike] * 3


def test_a_killed_group_frees_all_its_slots(start: Start) -> None:
    group = start("group", machines=2, group=2)
    assert group.says() == ["admitted"]
    follower = start("follower", machines=2, group=2)
    assert follower.says()[0] == "waiting"
    group.kill()
    assert follower.says() == ["admitted"]


def test_a_group_of_more_machines_than_may_run_at_once_waits_until_it_is_alone(start: Start) -> None:
    single = start("single", machines=2)
    assert single.says() == ["admitted"]
    group = start("group", machines=2, group=3)
    assert group.says() == ["waiting", *mine("single running")]
    single.close()
    assert group.says() == ["admitted"]
    late = start("late", machines=2)
    assert late.says()[0] == "waiting"


def test_a_group_that_needs_too_much_memory_is_refused_at_once(start: Start) -> None:
    stderr = start("group", machines=4, mib=400, group=3).process.communicate(timeout=LIMIT_S)[1].decode()
    assert "cannot run group and 2 beside it with 1200 MiB" in stderr


def test_waiter_leaves_when_its_caller_is_gone(start: Start, shared: Path) -> None:
    holder = start("holder")
    assert holder.says() == ["admitted"]
    waiter = start("waiter")
    assert waiter.says()[0] == "waiting"
    waiter.close()
    assert waiter.process.returncode == 1
    assert [ticket.purpose for ticket in slots.tickets(str(shared / "queue"))] == ["holder"]


def test_a_host_that_takes_none_keeps_all_waiting_until_it_does_again(start: Start, shared: Path) -> None:
    queue = str(shared / "queue")
    holder = start("holder", machines=2)
    assert holder.says() == ["admitted"]
    declared.declare("none", directory=queue)
    says = str(declared.current(availability.ALWAYS, directory=queue))
    waiters = [start("waiter", machines=2), start("another", machines=2)]
    for waiter in waiters:
        assert waiter.says() == ["waiting", f"{says} 0 withheld"]
    assert [ticket.state for ticket in slots.tickets(queue)] == ["running", "withheld", "withheld"]
    waiters[0].kill()
    declared.take_back(directory=queue)
    assert waiters[1].says() == ["admitted"]
    assert {ticket.purpose: ticket.state for ticket in slots.tickets(queue)} == {
        "holder": "running",
        "another": "running",
    }


@pytest.mark.parametrize("state", ["eager", "reluctant"])
def test_a_host_that_is_reluctant_serves(start: Start, shared: Path, state: str) -> None:
    declared.declare(state, directory=str(shared / "queue"))
    assert start("claim").says() == ["admitted"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_each_user_has_a_word_and_that_of_root_counts(shared: Path) -> None:
    queue = str(shared / "queue")

    def state() -> str:
        return declared.current(availability.ALWAYS, directory=queue).state

    declared.declare("none", directory=queue)
    os.seteuid(NOBODY)
    try:
        declared.declare("eager", directory=queue)
        assert state() == "none"
        declared.take_back(directory=queue)  # their own, and no other
        assert state() == "none"
        declared.declare("reluctant", directory=queue)
    finally:
        os.seteuid(0)
    (Path(queue) / availability.file_of(0)).unlink()
    assert state() == "reluctant"
    declared.take_back(directory=queue)  # all of them
    assert list(Path(queue).iterdir()) == []


def test_stampede_never_has_more_than_the_limit_run(shared: Path) -> None:
    machines, claims = 3, 20
    gate, opener = os.pipe()
    argv = [*python(shared, "stampede.py"), str(machines)]
    crowd = [subprocess.Popen([*argv, str(n)], stdin=gate, stderr=subprocess.PIPE, text=True) for n in range(claims)]
    try:
        os.close(gate)
        os.close(opener)  # ready, steady, go
        ends = [(member.communicate(timeout=LIMIT_S)[1], member.returncode) for member in crowd]
    finally:
        for member in crowd:
            with member:
                member.kill()
    assert ends == [("", 0 if number % 3 else -signal.SIGKILL) for number in range(claims)]
    assert slots.tickets(str(shared / "queue")) == ()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
@pytest.mark.parametrize(("holder_uid", "follower_uid"), [(0, NOBODY), (NOBODY, 0)], ids=["root-first", "nobody-first"])
def test_users_share_one_queue(start: Start, shared: Path, holder_uid: int, follower_uid: int) -> None:
    holder = start("holder", uid=holder_uid)
    assert holder.says() == ["admitted"]
    follower = start("follower", uid=follower_uid)
    assert follower.says() == ["waiting", f"holder {holder_uid} running"]
    holder.kill()
    assert follower.says() == ["admitted"]
    follower.close()
    again = start("again", uid=follower_uid)
    assert again.says() == ["admitted"]
    third = start("third", uid=NOBODY)
    assert third.says() == ["waiting", f"again {follower_uid} running"]
    again.close()
    assert third.says() == ["admitted"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_tickets_closed_to_us_are_ignored(start: Start, shared: Path) -> None:
    (shared / "queue").mkdir()
    (shared / "queue").chmod(0o1777)
    closed = shared / "queue" / "000000000001"
    closed.touch(mode=0)
    assert start("claim", uid=NOBODY).says() == ["admitted"]
    assert closed.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_directory_closed_to_us_is_told_of(start: Start, shared: Path) -> None:
    (shared / "queue").mkdir()
    (shared / "queue").chmod(0o755)
    claimant = start("claim", uid=NOBODY)
    stderr = claimant.process.communicate(timeout=LIMIT_S)[1].decode()
    assert "cannot queue for a slot" in stderr
    assert "Permission denied" in stderr
