"""The supervisor as a real process, with the fake QEMU below it: whatever happens, the machine goes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.supervised import LIMIT_S, PACKAGE, PROGRAM, Supervisor
from vmtasks.deadline import Deadline
from vmtasks.host import slots
from vmtasks.supervisor import qemu_process
from vmtasks.supervisor.console import LAST_WORDS_BYTES, Console
from vmtasks.supervisor.plan import Plan

PROMPT_S = 5.0
"""How soon a machine is gone after its caller is."""
HANGS = {"human-monitor-command": [["ignore"]]}
"""The script of a QEMU that hangs as soon as it has greeted."""

MakePlan = Callable[..., Plan]
Ended = Callable[..., bool]


def is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def nothing_is_left(plan: Plan) -> bool:
    return not Path(plan.directory).exists() and slots.tickets(plan.slot.directory) == ()


def other_claim(plan: Plan) -> slots.Claim:
    slot = plan.slot
    limits = slots.Limits(machines=slot.machines, memory_mib=slot.memory_mib)
    return slots.Claim("another", 1, limits, directory=slot.directory)


# --- a whole life ----------------------------------------------------------------------------------------------


def test_from_plan_to_gone(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    ours = plan()
    one = supervise(ours)
    facts = one.starts()
    assert facts["version"] == "7.2.22"
    socket.create_connection(("127.0.0.1", facts["ports"]["22"]), timeout=LIMIT_S).close()

    path = Path(ours.directory, "lease.json")
    lease = json.loads(path.read_text())
    assert lease["qemu_pid"] == facts["qemu_pid"] != one.process.pid
    assert lease["supervisor_pid"] == one.process.pid
    assert (lease["name"], lease["argv"], lease["ports"]) == ("guest", [*ours.argv], facts["ports"])
    assert is_locked(path)
    (ticket,) = slots.tickets(ours.slot.directory)
    assert (ticket.purpose, ticket.state, ticket.pid) == ("a test", "running", one.process.pid)

    one.send({"do": "stop"})
    assert one.ends() == {"status": 0, "by_itself": False, "error": "", "qemu": "", "console": ""}
    assert nothing_is_left(ours)


def test_commands_are_executed_and_events_passed_on(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    trouble = {"reason": "No space left on device"}
    one = supervise(plan({"query-status": [["after", "event", "BLOCK_IO_ERROR", trouble]]}))
    one.starts()
    one.asks("query-status")
    assert one.says("answer")["result"]["running"] is True
    assert one.says("qemu") == {"name": "BLOCK_IO_ERROR", "data": trouble}, "though it came with the answer"
    one.asks("stop")
    assert one.says("answer") == {"id": "stop", "result": {}}
    assert one.says("qemu") == {"name": "STOP", "data": {}}
    one.asks("nonsense")
    assert one.says("answer")["error"] == "QEMU refused nonsense: The command nonsense has not been found"


def test_event_before_it_was_started_is_passed_on(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    one = supervise(plan({"human-monitor-command": [["event", "NIC_RX_FILTER_CHANGED"]]}))
    one.starts()
    assert one.says("qemu")["name"] == "NIC_RX_FILTER_CHANGED"


def test_garbage_on_the_control_line_costs_an_answer_and_no_machine(
    supervise: Callable[..., Supervisor], plan: MakePlan
) -> None:
    one = supervise(plan({"query-status": [["send", "?!"], ["ignore"]]}))
    one.starts()
    one.asks("query-status")
    assert one.says("answer")["error"] == "QEMU sent what is no message: ?!"
    one.asks("query-kvm")
    assert one.says("answer")["error"].startswith("QEMU refused query-kvm")


def test_machine_that_ends_by_itself(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    ours = plan({"cont": [["say", "reboot: Power down\r\n"], ["complain", "farewell"], ["exit", 3]]})
    one = supervise(ours)
    one.starts()
    one.asks("cont")
    assert "control line" in one.says("answer")["error"]
    last = one.ends()
    assert last["status"] == 3
    assert last["qemu"] == "qemu-system-fake: farewell\n"
    assert last["console"] == "reboot: Power down\r\n"
    assert nothing_is_left(ours)


# --- ways to go ------------------------------------------------------------------------------------------------


def test_machine_that_has_lived_as_long_as_it_may_ends_also_where_its_caller_does_nothing(
    supervise: Callable[..., Supervisor], plan: MakePlan, ended: Ended
) -> None:
    ours = plan(lifetime_s=1)
    one = supervise(ours)
    facts = one.starts()
    assert not ended(facts["qemu_pid"], timeout_s=0)
    assert one.says("expired") == {"lifetime_s": 1}
    assert one.ends(PROMPT_S)["status"] == 0
    assert ended(facts["qemu_pid"], timeout_s=0)
    assert nothing_is_left(ours)


def test_time_to_live_begins_anew_when_it_is_set_and_the_lease_has_its_end(
    supervise: Callable[..., Supervisor], plan: MakePlan
) -> None:
    ours = plan(lifetime_s=3600)
    one = supervise(ours)
    one.starts()
    path = Path(ours.directory, "lease.json")
    before = json.loads(path.read_text())
    assert 3500 < before["until_s"] - time.time() <= 3600
    one.send({"do": "live", "id": 7, "lifetime_s": 7200})
    until_s = one.says("answer")["result"]
    after = json.loads(path.read_text())
    assert after == {**before, "until_s": until_s}
    assert 7100 < until_s - time.time() <= 7200
    one.send({"do": "live", "id": 8, "lifetime_s": 1})
    one.says("answer")
    assert one.says("expired") == {"lifetime_s": 1}
    one.ends(PROMPT_S)


def test_machine_without_a_time_to_live_has_none_in_its_lease(
    supervise: Callable[..., Supervisor], plan: MakePlan
) -> None:
    ours = plan()
    supervise(ours).starts()
    assert json.loads(Path(ours.directory, "lease.json").read_text())["until_s"] is None


def test_control_line_that_closes_ends_the_machine(
    supervise: Callable[..., Supervisor], plan: MakePlan, ended: Ended
) -> None:
    ours = plan()
    one = supervise(ours)
    qemu_pid = one.starts()["qemu_pid"]
    assert not ended(qemu_pid, timeout_s=0)
    one.close()
    assert one.ends(PROMPT_S)["status"] == 0
    assert ended(qemu_pid, timeout_s=0)
    assert nothing_is_left(ours)


def test_caller_that_no_longer_listens_either(
    supervise: Callable[..., Supervisor], plan: MakePlan, ended: Ended
) -> None:
    ours = plan()
    one = supervise(ours)
    qemu_pid = one.starts()["qemu_pid"]
    assert not ended(qemu_pid, timeout_s=0)
    assert one.process.stdout
    one.process.stdout.close()
    one.close()
    assert one.process.wait(PROMPT_S) == 0
    assert ended(qemu_pid, timeout_s=0)
    assert nothing_is_left(ours)


def test_killed_supervisor_takes_its_machine_along(
    supervise: Callable[..., Supervisor], plan: MakePlan, ended: Ended
) -> None:
    ours = plan({"quit": [["ignore"]], "SIGTERM": [["ignore"]]})
    one = supervise(ours)
    qemu_pid = one.starts()["qemu_pid"]
    assert not ended(qemu_pid, timeout_s=0)
    one.process.kill()
    assert ended(qemu_pid, timeout_s=PROMPT_S)
    one.process.wait(LIMIT_S)
    assert slots.tickets(ours.slot.directory) == ()
    with other_claim(ours) as claim:
        assert claim.poll() == ()
    assert not is_locked(Path(ours.directory, "lease.json")), "what is left is known to be dead"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_signal_is_a_clean_end(
    supervise: Callable[..., Supervisor], plan: MakePlan, ended: Ended, number: signal.Signals
) -> None:
    ours = plan()
    one = supervise(ours)
    qemu_pid = one.starts()["qemu_pid"]
    assert not ended(qemu_pid, timeout_s=0)
    one.process.send_signal(number)
    one.process.send_signal(number)
    assert one.ends(PROMPT_S)["status"] == 0
    assert ended(qemu_pid, timeout_s=0)
    assert nothing_is_left(ours)


def test_stop_gives_a_machine_time_to_end_by_itself(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    one = supervise(plan({"quit": [["exit", 9]]}))
    qemu_pid = one.starts()["qemu_pid"]
    one.send({"do": "stop", "timeout_s": LIMIT_S})
    one.close()
    os.kill(qemu_pid, signal.SIGTERM)
    assert one.ends()["status"] == 0, "it was not told to quit"


def test_stop_gives_no_more_time_than_that(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    one = supervise(plan({"quit": [["exit", 9]]}))
    one.starts()
    one.send({"do": "stop", "timeout_s": 0.1})
    assert one.ends(PROMPT_S)["status"] == 9, "it was told to quit"


@pytest.mark.parametrize("deafness", ["says-nothing", "answers-and-stays"])
def test_machine_that_does_not_quit_is_killed(
    supervise: Callable[..., Supervisor], plan: MakePlan, ended: Ended, deafness: str
) -> None:
    stays = [["send", '{"return": {}, "id": 3}']] if deafness == "answers-and-stays" else []
    ours = plan({"quit": [*stays, ["ignore"]], "SIGTERM": [["ignore"]]})
    one = supervise(ours, QUIT_LIMIT_S=0.2)
    qemu_pid = one.starts()["qemu_pid"]
    assert not ended(qemu_pid, timeout_s=0)
    one.close()
    assert one.ends()["status"] == -signal.SIGKILL
    assert ended(qemu_pid, timeout_s=0)
    assert nothing_is_left(ours)


def test_usual_limits_add_up_to_less_than_the_callers_patience() -> None:
    from vmtasks.supervisor.client import STOP_LIMIT_S

    assert qemu_process.CONTROL_LIMIT_S + qemu_process.QUIT_LIMIT_S < STOP_LIMIT_S


# --- a machine that does not start -----------------------------------------------------------------------------


def test_qemu_that_ends_at_once_is_quoted(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    ours = plan({"start": [["complain", "-drive: no such disk"], ["exit", 1]]})
    one = supervise(ours)
    one.prepares()
    last = one.ends()
    assert last == {
        "status": 1,
        "by_itself": True,
        "error": "QEMU closed its control line",
        "qemu": "qemu-system-fake: -drive: no such disk\n",
        "console": "",
    }
    assert nothing_is_left(ours)


def test_qemu_that_never_greets(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    ours = plan({"start": [["ignore"]]})
    one = supervise(ours, CONTROL_LIMIT_S=0.2, QUIT_LIMIT_S=0.2)
    one.prepares()
    last = one.ends()
    assert (last["status"], last["error"]) == (-signal.SIGKILL, "QEMU did not send its greeting in time")
    assert nothing_is_left(ours)


def test_qemu_that_does_not_tell_its_ports(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    one = supervise(plan(HANGS), CONTROL_LIMIT_S=2.0)
    one.prepares()
    assert one.ends()["error"] == "QEMU did not send the answer to human-monitor-command in time"


@pytest.mark.parametrize("how", ["close", "stop", "SIGTERM"])
def test_caller_that_goes_while_qemu_starts(supervise: Callable[..., Supervisor], plan: MakePlan, how: str) -> None:
    ours = plan({"start": [["ignore"]]})
    one = supervise(ours, CONTROL_LIMIT_S=LIMIT_S, QUIT_LIMIT_S=0.2)
    one.prepares()
    go(one, how)
    last = one.ends(PROMPT_S)
    assert last["error"] in {"", "stopped before QEMU ran"}
    assert nothing_is_left(ours)


def test_no_qemu(supervise: Callable[..., Supervisor], plan: MakePlan, tmp_path: Path) -> None:
    ours = plan(argv=[str(tmp_path / "qemu-system-none"), "-nodefaults"])
    one = supervise(ours)
    one.prepares()
    assert one.ends() == {
        "status": None,
        "by_itself": False,
        "error": f"{tmp_path}/qemu-system-none: No such file or directory",
        "qemu": "",
        "console": "",
    }
    assert nothing_is_left(ours)


def test_preparation_that_fails_is_quoted(supervise: Callable[..., Supervisor], plan: MakePlan, tmp_path: Path) -> None:
    ours = plan(
        prepare=[["/bin/sh", "-c", "echo all is well; echo no room left >&2; exit 4", str(tmp_path / "overlay")]]
    )
    one = supervise(ours)
    one.says("admitted")
    last = one.ends()
    assert (last["status"], last["error"]) == (None, "/bin/sh ended with status 4: no room left")
    assert not (tmp_path / "overlay").exists()
    assert nothing_is_left(ours)


@pytest.mark.parametrize("how", ["close", "stop", "SIGTERM", "SIGKILL"])
def test_preparation_ends_when_nobody_waits_for_it(
    supervise: Callable[..., Supervisor], plan: MakePlan, ended: Ended, tmp_path: Path, how: str
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    one = supervise(plan(prepare=[["/bin/sh", "-c", f"echo $$ >'{gate}'; exec sleep 600", str(tmp_path / "overlay")]]))
    one.says("admitted")
    pid = int(gate.read_text())
    assert not ended(pid, timeout_s=0)
    if how == "SIGKILL":
        one.process.kill()
    else:
        go(one, how)
    assert ended(pid, timeout_s=PROMPT_S)


def test_preparation_that_cannot_be_run_is_named(
    supervise: Callable[..., Supervisor], plan: MakePlan, tmp_path: Path
) -> None:
    one = supervise(plan(prepare=[["qemu-img-none", str(tmp_path / "overlay")]]))
    one.says("admitted")
    assert one.ends()["error"] == "qemu-img-none: No such file or directory"


def test_preparation_precedes_qemu_and_finds_the_directory(
    supervise: Callable[..., Supervisor], plan: MakePlan, tmp_path: Path
) -> None:
    ours = plan(prepare=[["/usr/bin/touch", str(tmp_path / "machine" / "overlay")]])
    one = supervise(ours)
    one.starts()
    assert Path(ours.directory, "overlay").exists()


def test_lease_that_cannot_be_written_ends_the_machine_first(
    supervise: Callable[..., Supervisor], plan: MakePlan, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    ours = plan(prepare=[["/bin/sh", "-c", f"read word <'{gate}'", str(tmp_path / "overlay")]])
    one = supervise(ours)
    one.says("admitted")
    resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE, (0, 0))  # from now on its disk is as good as full
    gate.write_text("go\n")
    one.says("prepared")
    one.says("greeted")
    last = one.ends()
    assert (last["status"], last["error"]) == (0, "File too large")
    assert nothing_is_left(ours)


def test_directory_that_is_there_already_is_left_alone(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    ours = plan()
    precious = Path(ours.directory, "precious")
    precious.parent.mkdir()
    precious.touch()
    last = supervise(ours).ends()
    assert (last["status"], last["error"]) == (None, f"{ours.directory}: File exists")
    assert list(precious.parent.iterdir()) == [precious]


def test_directory_that_cannot_be_made(supervise: Callable[..., Supervisor], plan: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    last = supervise(plan(directory=str(tmp_path / "file" / "machine"))).ends()
    assert (last["status"], last["error"]) == (None, f"{tmp_path}/file/machine: Not a directory")


@pytest.mark.parametrize("which", ["console", "qemu_log"])
def test_log_that_cannot_be_written(
    supervise: Callable[..., Supervisor], plan: MakePlan, tmp_path: Path, which: str
) -> None:
    ours = plan(**{which: str(tmp_path / "none" / "a.log")})
    one = supervise(ours)
    one.prepares()
    last = one.ends()
    assert (last["status"], last["error"]) == (None, f"{tmp_path}/none/a.log: No such file or directory")
    assert nothing_is_left(ours)


def test_claim_beyond_all_limits(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    ours = plan(claim_mib=1001)
    last = supervise(ours).ends()
    assert last["status"] is None
    assert last["error"].startswith("cannot run a test with 1001 MiB")
    assert nothing_is_left(ours)


def test_what_the_machine_stands_on_is_held(
    supervise: Callable[..., Supervisor], plan: MakePlan, tmp_path: Path
) -> None:
    image = tmp_path / "in-use"
    one = supervise(plan(hold=[str(image)]))
    one.starts()
    with image.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        one.close()
        one.ends()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = plan(hold=[str(image)])
        assert supervise(ours).ends()["error"] == f"{image}: somebody else has it locked"
        assert nothing_is_left(ours)


# --- waiting for a slot ----------------------------------------------------------------------------------------


def go(one: Supervisor, how: str) -> None:
    match how:
        case "close":
            one.close()
        case "stop":
            one.send({"do": "stop"})
        case "SIGTERM":
            one.process.terminate()


def test_waits_for_its_slot_and_tells_behind_whom(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    ours = plan()
    with other_claim(ours) as claim:
        one = supervise(ours)
        (ahead,) = one.says("waiting")["ahead"]
        assert (ahead["purpose"], ahead["state"], ahead["pid"]) == ("another", "running", os.getpid())
        one.asks("query-status")
        assert one.says("answer") == {"id": "query-status", "error": "QEMU does not run yet"}
        claim.release()
        one.starts()


@pytest.mark.parametrize("how", ["close", "stop", "SIGTERM"])
def test_caller_that_goes_while_it_waits(supervise: Callable[..., Supervisor], plan: MakePlan, how: str) -> None:
    ours = plan()
    with other_claim(ours):
        one = supervise(ours)
        one.says("waiting")
        go(one, how)
        last = one.ends(PROMPT_S)
        assert (last["status"], last["error"]) == (None, "stopped before QEMU ran")
        assert [ticket.purpose for ticket in slots.tickets(ours.slot.directory)] == ["another"]
    assert nothing_is_left(ours)


def test_stop_right_behind_the_plan(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    ours = plan()
    one = supervise(ours, {"do": "qmp", "id": 1, "execute": "cont"}, {"do": "stop"})
    one.says("answer")
    assert one.ends()["error"] == "stopped before QEMU ran"
    assert nothing_is_left(ours)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"?!", "a plan must be JSON, and this is none"),
        (b"[]", "the plan must be an object, not []"),
        (b'{"directory": "/nowhere"}', "the plan lacks the key 'argv'"),
    ],
)
def test_what_is_no_plan_is_refused_in_a_sentence(line: bytes, error: str) -> None:
    argv = [sys.executable, "-I", "-S", "-c", PROGRAM, str(PACKAGE.parent), "{}"]
    done = subprocess.run(argv, input=line + b"\n", capture_output=True, timeout=LIMIT_S, check=True)
    assert (json.loads(done.stdout)["event"], json.loads(done.stdout)["error"]) == ("exited", error)
    assert done.stderr == b""


def test_control_line_that_closes_before_the_plan() -> None:
    argv = [sys.executable, "-I", "-S", "-c", PROGRAM, str(PACKAGE.parent), "{}"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=LIMIT_S)
    assert json.loads(done.stdout)["error"] == "stopped before QEMU ran"
    assert done.stderr == b""


# --- the console -----------------------------------------------------------------------------------------------


def test_console_goes_to_its_log(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    ours = plan({"cont": [["say", "Linux version 6\r\n\xff"], ["say", "login: "]]})
    one = supervise(ours)
    one.starts()
    one.asks("cont")
    one.says("answer")
    one.close()
    assert one.ends()["console"] == "Linux version 6\r\n\xfflogin: "
    assert Path(ours.console).read_bytes().decode() == "Linux version 6\r\n\xfflogin: "


def test_console_flood_fills_no_disk_and_keeps_nobody_waiting(
    supervise: Callable[..., Supervisor], plan: MakePlan
) -> None:
    ours = plan({"human-monitor-command": [["flood", "all work and no play\n"]]})
    one = supervise(ours, CONSOLE_LIMIT_BYTES=100_000)
    one.starts()
    log = Path(ours.console)
    deadline = Deadline.after(LIMIT_S)
    while log.stat().st_size < 100_000 and not deadline.passed:
        one.asks("query-status")
        assert one.says("answer", PROMPT_S)["result"]["running"] is True
    for _ in range(10):
        one.asks("query-status")
        one.says("answer", PROMPT_S)
    one.close()
    last = one.ends(PROMPT_S)
    assert log.stat().st_size == 100_000
    assert "all work and no play\n" in last["console"]
    assert len(last["console"]) <= LAST_WORDS_BYTES


def test_a_machine_that_has_written_too_much_is_ended(
    supervise: Callable[..., Supervisor], plan: MakePlan, tmp_path: Path
) -> None:
    orders = plan(written_mib=1)
    one = supervise(orders)
    one.starts()
    (Path(orders.directory) / "disk.qcow2").write_bytes(b"x" * (1 << 20))
    assert one.says("overfull") == {"written_mib": 1}
    assert one.says("exited")["by_itself"] is False
    assert not Path(orders.directory).exists()


def test_what_is_sparse_counts_as_what_it_takes(tmp_path: Path) -> None:
    with (tmp_path / "transfer").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "link").symlink_to("/usr/bin/python3")
    assert qemu_process.written_bytes(str(tmp_path)) < 1 << 16


def test_panic_is_told_once_and_whole(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    whole = "[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n"
    crumbs = [["say", crumb] for crumb in re.findall(r"(?s).{1,7}", whole)]
    one = supervise(plan({"cont": [*crumbs, ["flood", "---[ end Kernel panic - not syncing: VFS ]---\r\n"]]}))
    one.starts()
    one.asks("cont")
    answer, panic = sorted((one.hear(), one.hear()), key=lambda message: str(message["event"]))
    assert answer["event"] == "answer"
    assert panic == {"event": "panic", "line": "Kernel panic - not syncing: VFS: Unable to mount root fs"}
    one.asks("query-status")
    one.says("answer")


PANIC = b"Kernel panic - not syncing: Attempted to kill init!"


@pytest.mark.parametrize("cut", [1, 6, 13, 25, 26, 27, 40, len(PANIC)])
def test_panic_in_two_pieces_is_found_at_every_cut(tmp_path: Path, cut: int) -> None:
    told: list[str] = []
    guest, line = socket.socketpair()
    with guest, line:
        console = Console(line, str(tmp_path / "console.log"), told.append)
        for piece in (b"x" * 5000 + PANIC[:cut], PANIC[cut:] + b"\r\n"):
            guest.sendall(piece)
            assert console.pump()
        assert told == [PANIC.decode()]
        guest.sendall(PANIC + b"\r\n")
        assert console.pump()
        assert len(told) == 1
        console.close()


def test_what_is_typed_reaches_the_guest_as_far_as_it_reads(tmp_path: Path) -> None:
    guest, line = socket.socketpair()
    with guest, line:
        console = Console(line, str(tmp_path / "console.log"), lambda _: None)
        assert console.type_in(b"root\r") == 5
        assert guest.recv(10) == b"root\r"
        while console.type_in(b"x" * 65536):
            pass  # until there is no room
        guest.recv(1 << 20)
        assert console.type_in(b"x")
        console.close()


def test_console_that_cannot_be_logged_is_still_watched() -> None:
    told: list[str] = []
    guest, line = socket.socketpair()
    with guest, line:
        console = Console(line, "/dev/full", told.append)
        guest.sendall(PANIC + b"\n")
        assert console.pump()
        assert len(told) == 1
        console.close()


def test_console_that_somebody_else_keeps_open_is_closed_all_the_same(tmp_path: Path) -> None:
    guest, line = socket.socketpair()
    with guest, line:
        console = Console(line, str(tmp_path / "console.log"), print)
        guest.sendall(b"last words")
        console.close()
        assert console.tail() == "last words"


# --- what QEMU gets, and what it does not ----------------------------------------------------------------------


def test_qemu_has_nothing_of_the_callers(supervise: Callable[..., Supervisor], plan: MakePlan, tmp_path: Path) -> None:
    ours = plan(hold=[str(tmp_path / "in-use")])
    one = supervise(ours)
    descriptors = Path(f"/proc/{one.starts()['qemu_pid']}/fd")
    has = {int(path.name): str(path.readlink()) for path in descriptors.iterdir()}
    assert has[0] == os.devnull
    assert has[1] == has[2] == ours.qemu_log
    streams = (one.process.stdin, one.process.stdout, one.process.stderr)
    pipes = {str(Path(f"/proc/self/fd/{stream.fileno()}").readlink()) for stream in streams if stream}
    assert len(pipes) == 3
    assert not pipes & set(has.values())
    locks = (ours.directory, ours.slot.directory, *ours.hold)
    assert not [name for name in has.values() if name.startswith(locks)], "a lock that it kept would outlive us"


def test_qemu_has_no_privileges_whoever_calls(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    status = Path(f"/proc/{supervise(plan()).starts()['qemu_pid']}/status").read_text()
    has = dict(re.findall(r"^(\w+):\s+([0-9a-f]+)$", status, re.MULTILINE))
    assert {name: int(has[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs")} == {
        "CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0, "NoNewPrivs": 1,
    }  # fmt: skip
    if os.geteuid() == 0:
        assert int(has["CapBnd"], 16) == 0


def test_qemu_has_no_privileges_where_the_kernel_lets_nobody_bound_them() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has privileges to lose")
    probe = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from vmtasks.process.child import drop_privileges; "
        "drop_privileges(); os.execlp('grep', 'grep', 'CapEff', '/proc/self/status')"
    )
    line = ["setpriv", "--bounding-set=-setpcap", sys.executable, "-I", "-S", "-c", probe, str(PACKAGE.parent)]
    done = subprocess.run(line, capture_output=True, check=True, timeout=LIMIT_S)
    assert int(done.stdout.split()[1], 16) == 0


# --- what travels ----------------------------------------------------------------------------------------------


TRAVELLERS = {
    "config": ("hours",),
    "files": ("short_name", "typed_json"),
    "host": ("availability", "flock", "program_files", "slots", "sparse"),
    "process": ("child", "landlock", "user"),
    "qemu": ("descriptors", "migration", "qmp"),
    "supervisor": (
        "__main__",
        "boot_lines",
        "confined",
        "console",
        "console_socket",
        "control",
        "disks",
        "lifetime",
        "plan",
        "qemu_process",
        "sampler",
    ),
}


@pytest.fixture
def travelling(tmp_path: Path) -> Path:
    """Return a zip file with what the supervisor needs, and nothing else."""
    path = tmp_path / "supervisor.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(PACKAGE / "__init__.py", "vmtasks/__init__.py")
        for room, names in TRAVELLERS.items():
            for name in ("__init__", *names):
                archive.write(PACKAGE / room / f"{name}.py", f"vmtasks/{room}/{name}.py")
    return path


def test_it_needs_few_modules_and_the_standard_library(travelling: Path) -> None:
    probe = (
        f"import sys; sys.path.insert(0, {str(travelling)!r}); import vmtasks.supervisor.__main__; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", probe], capture_output=True, check=True, timeout=LIMIT_S)
    loaded = set(done.stdout.decode().split())
    ours = {name for name in loaded if name.partition(".")[0] == "vmtasks"}
    assert ours == {"vmtasks"} | {
        f"vmtasks.{room}{name}" for room, names in TRAVELLERS.items() for name in ("", *(f".{name}" for name in names))
    }
    assert {name.partition(".")[0] for name in loaded - ours} <= {*sys.stdlib_module_names, "__main__"}


def test_it_lives_a_whole_life_out_of_a_zip_file(
    supervise: Callable[..., Supervisor], plan: MakePlan, travelling: Path
) -> None:
    ours = plan()
    one = supervise(ours, home=travelling)
    one.starts()
    one.asks("query-status")
    one.says("answer")
    one.close()
    assert one.ends()["status"] == 0
    assert nothing_is_left(ours)
