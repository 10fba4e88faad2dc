"""A bigger host over ssh: a real sshd in a network of its own, real supervisors there, and the fake QEMU."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.bigger_host import LIMIT_S, BiggerHost, bigger_host
from tests.process.supervised import plan_in
from tests.waiting import until
from vmtasks import events
from vmtasks.cache import snapshots
from vmtasks.config.settings import HostSettings
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError, Interrupted, UsageError
from vmtasks.host import declared, slots
from vmtasks.host.accelerator import choose
from vmtasks.host.sparse import copy_extents
from vmtasks.image.baked import BakedImage
from vmtasks.machine.kernel_rooms import KernelRooms
from vmtasks.machine.sampling import sampling
from vmtasks.process.signals import interrupt_on_signals
from vmtasks.process.threads import parallel
from vmtasks.profile.profile import Profile
from vmtasks.profile.sample_log import SampleLog
from vmtasks.providers.base import BootOptions, MachineRequest
from vmtasks.providers.choice import Choices
from vmtasks.remote import upload
from vmtasks.remote.heartbeat import TIMEOUT_S
from vmtasks.remote.host import RemoteHost, remote_host
from vmtasks.remote.incoming import received, receiving, sweep
from vmtasks.supervisor.client import supervised
from vmtasks.supervisor.plan import Plan

ROOT = Path(__file__).resolve().parents[3]
NOTICED_S = 10.0
KEY = "0123456789abcdef"
CALLER = """
import sys
from pathlib import Path
from vmtasks.deadline import Deadline
from vmtasks.remote.host import remote_host
from vmtasks.supervisor.client import supervised
from vmtasks.supervisor.plan import Plan
from vmtasks.process.threads import parallel

host = remote_host(sys.argv[2])
with supervised(Plan.from_json(sys.argv[1]), log=Path("/dev/null"), place=host) as client:
    client.expect("started", Deadline.after(30.0))
    print("started", flush=True)
    sys.stdin.read()
"""

DEVELOPER = """
from vmtasks.host.slots import Claim, Limits
with Claim("work of theirs", 100, Limits(machines=1, memory_mib=1000)) as claim:
    claim.wait()
    print("mine", flush=True)
    input()
"""


@pytest.fixture
def far(big: BiggerHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteHost]:
    """A link to it; nothing of it may be left there afterwards."""
    monkeypatch.setenv("VMTASKS_SSH", big.ssh)
    host = remote_host(big.name)
    yield host
    host.close()
    big.see_it_empty()


def plan_there(far: RemoteHost, tmp_path: Path, name: str = "machine") -> Plan:
    """A plan whose machine is there, and whose logs come here."""
    directory = far.cache() / "machines" / name
    plan = plan_in(tmp_path)
    return plan._replace(directory=str(directory), slot=plan.slot._replace(directory=None))


def baked_in(directory: Path, size_bytes: int) -> BakedImage:
    """An image of so many bytes, as far as sending it is concerned."""
    image = directory / f"small-{KEY}-1"
    image.mkdir(parents=True)
    (image / "disk.qcow2").write_bytes(b"QFI\xfb" + os.urandom(size_bytes - 4))
    manifest = {"name": "small", "key": KEY, "parent": None, "baked_s": 1.0}
    (image / "manifest.json").write_text(json.dumps(manifest))
    return BakedImage(directory=image, manifest=manifest)


# ---- what is asked of that host


def test_a_call_there_is_a_call(far: RemoteHost, big: BiggerHost) -> None:
    assert far.cache() == big.cache
    assert far.call(HostSettings.load) == HostSettings()
    with far.enter(snapshots.template_lock, "image") as waited:
        assert waited is False
        assert (big.cache / "snapshots/image.lock").exists()


def test_a_run_chooses_between_hosts_that_it_asks(far: RemoteHost) -> None:
    request = MachineRequest(image="bookworm", options=BootOptions(memory_mib=100, accel="tcg"))
    nobody, notes = "no-such-host.invalid", list[events.Event]()
    far.call(declared.declare, "none", reason="a new disk")
    with pytest.raises(Enough), events.listening(notes.append), interrupted_by_a_note("waiting: no host"):
        Choices().settled(request, f"{nobody}|{far.name}")
    far.call(declared.declare, "reluctant")
    with events.listening(notes.append):
        assert Choices().settled(request, f"{nobody}|{far.name}").options.on == far.name
    far.call(declared.take_back)
    told = [note.text for note in notes if isinstance(note, events.Note)]
    assert told[0].startswith(f"{nobody} is left out: cannot find {nobody}: ")
    assert told[1].startswith(f"waiting: no host takes new machines ({far.name}: the host takes no new machines (a new")
    assert told[-1] == f"runs on {far.name}, which is reluctant, with a free slot"


class Enough(Exception):
    """What a note has ended."""


def interrupted_by_a_note(beginning: str) -> AbstractContextManager[None]:
    """Return a block in which such a note raises."""

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Note) and event.text.startswith(beginning):
            raise Enough

    return events.listening(hear)


def test_an_error_there_is_the_same_error_here_and_says_where(far: RemoteHost) -> None:
    with pytest.raises(HostError, match=rf"^{far.name}: there is no snapshot in /nowhere"):
        far.call(snapshots.read, Path("/nowhere"))


def test_what_the_kernel_there_refuses_is_told_as_such(far: RemoteHost, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=f"^{far.name}: /nowhere: No such file or directory"):
        far.call(copy_extents, "/nowhere", str(tmp_path / "x"))
    (tmp_path / "queue").symlink_to("elsewhere")
    with pytest.raises(HostError, match="cannot queue for a slot in"):
        far.call(slots.tickets, str(tmp_path / "queue"))


def test_who_has_had_enough_of_waiting_there_is_heard_in_a_thread_too_and_leaves_no_block(far: RemoteHost) -> None:
    notes: list[str] = []

    def wait() -> None:
        with far.enter(snapshots.template_lock, "image"):
            pytest.fail("somebody else is the only maker")

    def interrupt(event: events.Event) -> None:
        notes.append(getattr(event, "text", ""))
        os.kill(os.getpid(), signal.SIGINT)

    with far.enter(snapshots.template_lock, "image"):
        with events.listening(interrupt), interrupt_on_signals(), pytest.raises(Interrupted):
            parallel(wait)
        assert notes == [f"{far.name}: waiting for another template of image"]
    with far.enter(snapshots.template_lock, "image") as waited:  # and the agent does not sit in the other's block
        assert waited in {True, False}


def test_only_plain_data_comes_from_there(far: RemoteHost) -> None:
    with pytest.raises(TypeError, match="travels between hosts"):
        far.call(print, object())  # type: ignore[arg-type]


# ---- a machine there


def test_a_machine_there_is_supervised_from_here_and_its_logs_come_home(
    far: RemoteHost, big: BiggerHost, tmp_path: Path
) -> None:
    plan = plan_there(far, tmp_path)
    with supervised(plan, log=tmp_path / "complaints", place=far) as client:
        started = client.expect("started", Deadline.after(LIMIT_S))
        assert started["ports"]["22"]
        assert Path(plan.directory).is_dir()
        assert "a test" not in {ticket.purpose for ticket in slots.tickets()}, "its slot is one of that host's"
        assert [ticket.purpose for ticket in far.call(slots.tickets)] == ["a test"]
        assert client.qmp("query-status")
    assert client.final_event()["error"] == ""
    assert not Path(plan.directory).exists()
    assert (tmp_path / "console.log").exists()
    assert (tmp_path / "complaints").read_text() == ""


def test_a_machine_there_is_sampled_there(far: RemoteHost, tmp_path: Path) -> None:
    with supervised(plan_there(far, tmp_path), log=tmp_path / "complaints", place=far) as client:
        qemu_pid = client.expect("started", Deadline.after(LIMIT_S))["qemu_pid"]
        log = SampleLog(tmp_path / "samples.jsonl")
        profile = Profile("far", log)
        with log.opened(), sampling(client, profile, log, 0.1):
            until("sample", lambda: len(profile.samples) > 2)
    assert {one.process.id for one in profile.samples} == {qemu_pid}
    assert profile.usage
    assert profile.usage.memory["pss_bytes"]
    assert "pss" not in profile.usage.not_supported


def test_callers_from_elsewhere_stand_in_one_queue_with_who_works_there(
    far: RemoteHost, big: BiggerHost, tmp_path: Path
) -> None:
    (sshd,) = (pid for pid in big.pids() if b"sshd_config" in Path(f"/proc/{pid}/cmdline").read_bytes())
    there = ["nsenter", f"--target={sshd}", "--mount", "--net", sys.executable, "-c", DEVELOPER]
    developer = subprocess.Popen(there, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert developer.stdout
    assert developer.stdout.readline() == "mine\n"
    first, second = plan_there(far, tmp_path, "first"), plan_there(far, tmp_path, "second")
    with supervised(first, log=tmp_path / "complaints", place=far) as one:
        ahead = one.expect("waiting", Deadline.after(LIMIT_S))["ahead"]
        assert [(ticket["purpose"], ticket["state"]) for ticket in ahead] == [("work of theirs", "running")]
        with supervised(second, log=tmp_path / "complaints", place=far) as other:
            ahead = other.expect("waiting", Deadline.after(LIMIT_S))["ahead"]
            assert [ticket["state"] for ticket in ahead] == ["running", "waiting"]
            developer.communicate("\n")
            one.expect("started", Deadline.after(LIMIT_S))
            until("slot", lambda: [t.state for t in far.call(slots.tickets)] == ["running", "waiting"], LIMIT_S)
            one.stop()
            other.expect("started", Deadline.after(LIMIT_S))


@pytest.mark.parametrize("victim", ["proxy", "watchdog", "supervisor"])
def test_nothing_is_left_there_whoever_is_killed(far: RemoteHost, big: BiggerHost, tmp_path: Path, victim: str) -> None:
    plan = plan_there(far, tmp_path)
    with supervised(plan, log=tmp_path / "complaints", place=far) as client:
        client.expect("started", Deadline.after(LIMIT_S))
        if victim == "proxy":
            client._process.kill()
        else:
            call = {"watchdog": "remote.watchdog import", "supervisor": "supervisor.__main__ import"}[victim]
            (pid,) = (pid for pid, line in big.running() if call in line and "remote.agent" not in line)
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(BootError, match="the machine is gone"):
            client.expect("never", Deadline.after(LIMIT_S))
        until("end of its directory", lambda: not Path(plan.directory).exists(), LIMIT_S)
    assert far.call(slots.tickets) == ()


def test_a_caller_that_is_killed_leaves_nothing_there(far: RemoteHost, big: BiggerHost, tmp_path: Path) -> None:
    before = len(big.running())
    plan = plan_there(far, tmp_path).to_json()
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, plan, big.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert caller.stdout
    assert caller.stdout.readline() == "started\n"
    assert len(big.running()) > before
    caller.kill()
    caller.communicate()
    until("end of its processes", lambda: len(big.running()) == before, LIMIT_S)
    assert not Path(big.cache / "machines/machine").exists()


def test_a_caller_that_is_stopped_for_a_while_keeps_its_machine(
    far: RemoteHost, big: BiggerHost, tmp_path: Path
) -> None:
    plan = plan_there(far, tmp_path).to_json()
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, plan, big.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,  # ours may be orphaned: the kernel hangs one up in which somebody is stopped (setpgid(2))
    )
    assert caller.stdout
    assert caller.stdout.readline() == "started\n"
    caller.send_signal(signal.SIGSTOP)
    # The longest that either end goes without a sign of the other, and a little more.
    assert not threading.Event().wait(NOTICED_S)
    assert Path(big.cache / "machines/machine").exists()
    caller.send_signal(signal.SIGCONT)
    caller.communicate("")
    assert caller.returncode == 0


# ---- the link


def test_neither_end_waits_longer_than_is_promised(far: RemoteHost) -> None:
    options = dict(word.split("=", 1) for word in far._ssh() if "=" in word)
    assert int(options["ServerAliveInterval"]) * (int(options["ServerAliveCountMax"]) + 1) < NOTICED_S
    assert TIMEOUT_S < NOTICED_S


def test_a_cut_link_is_noticed_at_both_ends(far: RemoteHost, big: BiggerHost, tmp_path: Path) -> None:
    plan = plan_there(far, tmp_path)
    began_s = 0.0
    try:
        with supervised(plan, log=tmp_path / "complaints", place=far) as client:
            client.expect("started", Deadline.after(LIMIT_S))
            big.cut()
            began_s = time.monotonic()
            with pytest.raises(BootError, match=f"the link to {big.name} broke"):
                client.expect("never", Deadline.after(NOTICED_S + LIMIT_S))
        assert time.monotonic() - began_s < NOTICED_S + 5, "what is promised, and what a slow host adds"
        with pytest.raises(HostError, match="the link to"):
            far.call(HostSettings.load)
        big.see_it_empty()
    finally:
        big.mend()
    assert remote_host(big.name).call(slots.tickets) == (), "the next one has a new link"
    remote_host(big.name).close()


def test_a_large_file_on_a_slow_line_does_not_look_like_a_broken_one(far: RemoteHost, big: BiggerHost) -> None:
    with big.slowed("500kbit"):  # the whole of it takes 17 s
        began_s = time.monotonic()
        subprocess.run(
            [*far._ssh(), big.name, "cat >/dev/null"], input=os.urandom(1 << 20), check=True, timeout=2 * LIMIT_S
        )
        assert time.monotonic() - began_s > TIMEOUT_S, "it was not slow, and tells nothing"
        far.call(HostSettings.load)


# ---- images


def test_an_image_is_sent_once(far: RemoteHost, big: BiggerHost, tmp_path: Path) -> None:
    image = baked_in(tmp_path, 3_000_000)
    progress: list[events.Event] = []
    with events.listening(progress.append):
        there = upload.sent(far, image)
    assert there.directory == big.cache / "images" / image.serial
    assert there.disk.read_bytes() == image.disk.read_bytes()
    assert not (there.directory / "id_ed25519").exists(), "how to get in, nobody needs to know there"
    assert {event.phase for event in progress if isinstance(event, events.PhaseStarted)} == {"upload image"}
    again: list[events.Event] = []
    with events.listening(again.append):
        assert upload.sent(far, image).directory == there.directory
    assert again == []
    assert there.place is far
    assert there.drop()
    assert far.call(received, image.serial) is None


def test_what_has_arrived_need_not_be_sent_again(far: RemoteHost, big: BiggerHost, tmp_path: Path) -> None:
    image = baked_in(tmp_path, 40_000_000)

    def cut(event: events.Event) -> None:
        if isinstance(event, events.Progress) and event.done > 30_000_000:
            for pid, line in big.running():
                if "remote.watchdog" in line:
                    os.kill(pid, signal.SIGKILL)

    with events.listening(cut), pytest.raises(HostError, match=f"to {big.name}: the link to") as info:
        upload.sent(far, image)
    assert info.value.hint == "what has arrived need not be sent again"
    (part,) = (big.cache / "images").glob(".*.incoming/disk.qcow2")
    assert part.stat().st_size > 20_000_000
    with part.open("r+b") as file:
        file.seek(5)
        file.write(b"spoilt")  # so we know that it is not sent anew
    again = remote_host(big.name)
    with pytest.raises(HostError, match="what came is not what was sent; it was thrown away"):
        upload.sent(again, image)
    assert upload.sent(again, image).drop()
    again.close()


def test_an_image_that_was_damaged_there_is_sent_anew(far: RemoteHost, tmp_path: Path) -> None:
    image = baked_in(tmp_path, 20_000)
    there = upload.sent(far, image)
    disk = there.disk.read_bytes()
    there.disk.write_bytes(bytes(len(disk)))
    assert upload.sent(far, image).disk.read_bytes() == disk
    assert there.drop()


def test_an_image_that_two_send_at_once_is_sent_once(far: RemoteHost, tmp_path: Path) -> None:
    image = baked_in(tmp_path, 20_000_000)
    seen: list[events.Event] = []
    done: list[BakedImage] = []
    with events.listening(seen.append):
        parallel(*[lambda: done.append(upload.sent(far, image))] * 2)
    assert len(done) == 2
    told = [event.done for event in seen if isinstance(event, events.Progress)]
    assert len(told) == len(set(told)) > 1, "the other one had nothing to send"
    assert done[0].drop()


def test_an_image_of_another_name_that_begins_alike_stays_half_sent(
    far: RemoteHost, big: BiggerHost, tmp_path: Path
) -> None:
    half = big.cache / "images" / f".small-i386-{KEY}-1.incoming"
    old = big.cache / "images" / f".small-{KEY}-0.incoming"
    for directory in (half, old):
        directory.mkdir(parents=True)
        (directory / "in-use").touch()
    assert upload.sent(far, baked_in(tmp_path, 1000)).drop()
    assert half.exists()
    assert not old.exists()
    with far.enter(receiving, half.name[1:].removesuffix(".incoming"), {}):
        assert far.call(sweep) == (), "it is being sent"
    assert far.call(sweep) == (half,)


# ---- hosts that do not serve, each with a sentence


@pytest.mark.parametrize("name", ["-oProxyCommand=true", "-oX@host", "", "a b", "host;true", "user@", "$(true)", "-"])
def test_what_is_no_host_is_given_to_no_program(name: str) -> None:
    with pytest.raises(UsageError, match=r"is no \[USER@\]HOST"):
        remote_host(name)


def refused(name: str, monkeypatch: pytest.MonkeyPatch, ssh: str) -> HostError:
    monkeypatch.setenv("VMTASKS_SSH", ssh)
    with pytest.raises(HostError) as info:
        remote_host(name)
    return info.value


def test_a_host_that_nobody_knows(big: BiggerHost, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = refused("no-such-host.invalid", monkeypatch, big.ssh)
    assert str(problem).startswith("cannot find no-such-host.invalid: ")


def test_a_host_that_does_not_listen(big: BiggerHost, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = refused(big.name, monkeypatch, f"{big.ssh} -p 1")
    assert str(problem) == f"cannot reach {big.name}: Connection refused"
    assert problem.hint == f"`ssh {big.name} true` must work"


def test_a_host_behind_a_cut_cable(big: BiggerHost, monkeypatch: pytest.MonkeyPatch) -> None:
    big.cut()
    try:
        problem = refused(big.name, monkeypatch, big.ssh)
    finally:
        big.mend()
    assert str(problem).startswith(f"cannot reach {big.name}: it does not answer")


def test_a_host_whose_key_is_another(big: BiggerHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kind, _ = (big.directory / "user_key.pub").read_text().split()[:2]
    public = (big.directory / "user_key.pub").read_text().split()[1]
    (tmp_path / "known").write_text(f"{big.address} {kind} {public}\n")
    problem = refused(big.name, monkeypatch, f"{big.ssh} -o UserKnownHostsFile={tmp_path}/known")
    assert str(problem) == f"cannot trust {big.name}: its host key is another than the one ssh knows"


def test_a_host_whose_key_nobody_knows(big: BiggerHost, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = refused(big.name, monkeypatch, f"{big.ssh} -o UserKnownHostsFile=/dev/null")
    assert str(problem) == f"cannot trust {big.name}: ssh does not know its host key"
    assert problem.hint == f"`ssh {big.name}` shows it and asks, once"


def test_a_host_that_does_not_let_us_in(big: BiggerHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text((big.directory / "ssh_config").read_text().replace("user_key", "host_key"))
    problem = refused(big.name, monkeypatch, f"ssh -F {tmp_path}/config")
    assert str(problem) == f"cannot log in to {big.name}: it accepts none of your ssh keys"


def test_an_ssh_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = refused("big", monkeypatch, "no-such-ssh -v")
    assert str(problem) == "cannot call no-such-ssh as ssh: No such file or directory"
    monkeypatch.setenv("VMTASKS_SSH", "ssh 'x")
    with pytest.raises(UsageError, match=r"as ssh \(VMTASKS_SSH\): No closing quotation"):
        remote_host("big")


READY = '{"event": "ready"}'
AGENT = '{"event": "agent", "cache": "/x", "code": "/x", "processor": "x86_64"}'


@pytest.mark.parametrize(
    "lines",
    [
        ['{"event": "agent"}'],
        ['{"event": "note"}'],
        ['{"event": "answer", "id": 7, "result": 1}'],
        ['{"event": "answer"}'],
        [AGENT, AGENT],
        [AGENT, '{"event": "answer", "id": 1, "result": {"kind": "Popen", "fields": {}}}'],
        [AGENT, '{"event": "answer", "id": 1, "error": {}}'],
    ],
)
def test_a_host_that_says_what_nobody_understands(
    lines: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ssh = tmp_path / "ssh"
    output = "\n".join(["5", '{"a": 1}', "Welcome!", READY, *lines])
    ssh.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\nexec cat >/dev/null\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("VMTASKS_SSH", str(ssh))
    with pytest.raises(HostError, match="cannot understand what big says"):  # noqa: PT012 - whichever comes first
        remote_host("big").call(HostSettings.load)
        remote_host("big").call(HostSettings.load)


# ---- other hosts


def test_a_host_of_another_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bigger_host(tmp_path, "setarch", "i686") as host:
        problem = refused(host.name, monkeypatch, host.ssh)
    assert str(problem) == f"cannot run machines on {host.name}: its processor is i686, not x86_64"


def test_a_host_without_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "bin"
    python.mkdir()
    (python / "python3").symlink_to(sys.executable)
    with bigger_host(tmp_path, environ={"PATH": str(python)}) as host:
        monkeypatch.setenv("VMTASKS_SSH", host.ssh)
        far = remote_host(host.name)
        with pytest.raises(HostError, match="qemu-system-x86_64 is not installed"):
            far.call(choose, "auto")
        far.close()


def test_a_host_without_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bigger_host(tmp_path, environ={"PATH": str(tmp_path)}) as host:
        problem = refused(host.name, monkeypatch, host.ssh)
    assert str(problem) == f"cannot run machines on {host.name}: it has no python3"


def test_a_host_whose_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bigger_host(tmp_path, cache_mib=6) as host:
        monkeypatch.setenv("VMTASKS_SSH", host.ssh)
        far = remote_host(host.name)
        with pytest.raises(HostError, match="MiB left, and the image needs 9 MiB more"):
            upload.sent(far, baked_in(tmp_path / "images", 10_000_000))
        far.close()


def test_a_host_whose_cache_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bigger_host(tmp_path, environ={"XDG_CACHE_HOME": "/proc/nowhere"}) as host:
        problem = refused(host.name, monkeypatch, host.ssh)
    assert "its cache /proc/nowhere/vmtasks cannot be written" in str(problem)


def test_the_files_of_a_kernel_get_there_in_full(far: RemoteHost, big: BiggerHost, tmp_path: Path) -> None:
    machine = big.cache / "machines/m"
    machine.mkdir(parents=True)
    rooms = KernelRooms(machine, machine="m", place=far)
    first, second = rooms.new(), rooms.new()
    assert (first.parent, stat.S_IMODE(first.stat().st_mode)) == (machine, 0o700)
    content = os.urandom(200_001)
    with rooms.new_file(second / "vmlinuz") as file:
        file.write(content)
        assert not (second / "vmlinuz").exists()
    assert (second / "vmlinuz").read_bytes() == content
    rooms.keep({second})
    assert [*machine.iterdir()] == [second]
    rooms.keep(set())
    refused = pytest.raises(HostError, match=rf"^{big.name}: cannot write .*kernel-2/initrd: No such file")
    with refused, rooms.new_file(second / "initrd") as file:
        file.write(content)
    machine.rmdir()
