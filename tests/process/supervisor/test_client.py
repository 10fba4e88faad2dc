"""The caller's end, with real supervisors and the fake QEMU: holding on, letting go, and dying."""

from __future__ import annotations

import io
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import vmtasks
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError
from vmtasks.host import slots
from vmtasks.profile.sample_log import SampleLog
from vmtasks.supervisor.client import SILENT_END, SupervisorClient, _listen, supervised
from vmtasks.supervisor.plan import BlankFile, Plan

LIMIT_S = 30.0
PROMPT_S = 5.0
CALLER = """
import sys
from pathlib import Path
from vmtasks.deadline import Deadline
from vmtasks.supervisor.client import supervised
from vmtasks.supervisor.plan import Plan

plan = Plan.from_json(sys.argv[1])
with supervised(plan, log=Path(sys.argv[2])) as client:
    started = client.expect("started", Deadline.after(30.0))
    print(started["qemu_pid"], flush=True)
    sys.stdin.read()
"""

MakePlan = Callable[..., Plan]
Ended = Callable[..., bool]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "supervisor.log"


def start(client: SupervisorClient) -> dict[str, Any]:
    return client.expect("started", Deadline.after(LIMIT_S))


def supervisor_of(plan: Plan) -> int:
    return int(json.loads(Path(plan.directory, "lease.json").read_text())["supervisor_pid"])


def nothing_is_left(plan: Plan) -> bool:
    return not Path(plan.directory).exists() and slots.tickets(plan.slot.directory) == ()


# --- holding on ------------------------------------------------------------------------------------------------


def test_machine_lives_as_long_as_the_block(plan: MakePlan, log: Path, ended: Ended) -> None:
    ours = plan()
    with supervised(ours, log=log) as client:
        messages = [client.next(LIMIT_S) for _ in range(4)]
        assert [word["event"] for word in messages if word] == ["admitted", "prepared", "greeted", "started"]
        assert client.next(0.0) is None
        assert client.exited is None
        qemu_pid = messages[3]["qemu_pid"] if messages[3] else 0
        assert not ended(qemu_pid, timeout_s=0)
    assert ended(qemu_pid, timeout_s=0)
    assert nothing_is_left(ours)
    assert log.read_bytes() == b"", "it had nothing to complain about"


def test_block_that_raises_ends_the_machine_and_loses_no_error(plan: MakePlan, log: Path, ended: Ended) -> None:
    ours = plan()
    pids: list[int] = []

    def break_off() -> None:
        with supervised(ours, log=log) as client:
            pids.append(start(client)["qemu_pid"])
            assert not ended(pids[0], timeout_s=0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert ended(pids[0], timeout_s=0)
    assert nothing_is_left(ours)


def test_block_that_is_left_at_once(plan: MakePlan, log: Path) -> None:
    ours = plan()
    with supervised(ours, log=log):
        pass
    assert nothing_is_left(ours)


def test_qmp_gives_the_answer_and_keeps_what_comes_before_it(plan: MakePlan, log: Path) -> None:
    with supervised(plan({"query-status": [["event", "RESET", {"guest": True}]]}), log=log) as client:
        start(client)
        assert client.qmp("stop") == {}
        assert client.qmp("query-status") == {"status": "paused", "singlestep": False, "running": False}
        with pytest.raises(BootError, match="cannot have QEMU execute nonsense: QEMU refused nonsense"):
            client.qmp("nonsense", {"why": 1})
        heard = [client.next(LIMIT_S), client.next(LIMIT_S)]
        assert [event["name"] for event in heard if event] == ["STOP", "RESET"]


def test_qmp_without_an_answer(plan: MakePlan, log: Path) -> None:
    with supervised(plan({"query-status": [["ignore"]]}), log=log) as client:
        start(client)
        with pytest.raises(BootError, match="cannot have QEMU execute query-status: no answer"):
            client.qmp("query-status", timeout_s=0.2)
        os.kill(supervisor_of(plan()), signal.SIGKILL)  # it would wait for QEMU's answer


def test_expect_drops_what_it_was_not_asked_for_and_tells_of_the_end(plan: MakePlan, log: Path) -> None:
    with supervised(plan({"start": [["complain", "no such disk"], ["exit", 1]]}), log=log) as client:
        with pytest.raises(BootError, match=r"the machine is gone \(QEMU closed its control line\)"):
            start(client)
        assert client.exited
        assert client.exited["qemu"] == "qemu-system-fake: no such disk\n"


def test_expect_does_not_wait_beyond_its_deadline(plan: MakePlan, log: Path) -> None:
    with supervised(plan(), log=log) as client, pytest.raises(BootError, match=r"said nothing of 'panic' in 0\.2 s"):
        client.expect("panic", Deadline.after(0.2))


# --- letting go ------------------------------------------------------------------------------------------------


def test_the_end_stays_the_end(plan: MakePlan, log: Path) -> None:
    ours = plan()
    with supervised(ours, log=log) as client:
        start(client)
        client.stop()
        assert nothing_is_left(ours)
        words = [client.next(LIMIT_S) for _ in range(5)]
        assert words == [client.exited] * 5
        assert client.exited
        assert client.exited["status"] == 0, "its real last words"
        with pytest.raises(BootError, match="cannot have QEMU execute cont: no answer"):
            client.qmp("cont")
        client.stop()


def test_stop_gives_grace(plan: MakePlan, log: Path) -> None:
    with supervised(plan({"quit": [["exit", 9]], "cont": [["exit", 5]]}), log=log) as client:
        qemu_pid = start(client)["qemu_pid"]
        client.send(do="stop", timeout_s=LIMIT_S)
        os.kill(qemu_pid, signal.SIGTERM)
        client.close()
        assert (client.next(LIMIT_S) or {})["status"] == 0


def test_killed_supervisor_is_told_of_like_any_end(plan: MakePlan, log: Path, tmp_path: Path, ended: Ended) -> None:
    ours = plan(
        blank=[BlankFile(str(tmp_path / "disk.part"), 1)], scratch=[str(tmp_path / "disk.part"), str(tmp_path / "none")]
    )
    with supervised(ours, log=log) as client:
        qemu_pid = start(client)["qemu_pid"]
        assert not ended(qemu_pid, timeout_s=0)
        os.kill(supervisor_of(ours), signal.SIGKILL)
        last = client.next(LIMIT_S) or {}
        assert (last["event"], last["status"]) == ("exited", None)
        assert last["error"] == "its supervisor ended without a word"
        assert ended(qemu_pid, timeout_s=PROMPT_S)
        assert Path(ours.directory).exists()
        assert (tmp_path / "disk.part").exists()
    assert nothing_is_left(ours)
    assert not (tmp_path / "disk.part").exists()


def test_supervisor_that_does_not_go_is_killed_and_its_machine_with_it(plan: MakePlan, log: Path, ended: Ended) -> None:
    ours = plan()
    with supervised(ours, log=log) as client:
        qemu_pid = start(client)["qemu_pid"]
        assert not ended(qemu_pid, timeout_s=0)
        os.kill(supervisor_of(ours), signal.SIGSTOP)
        with pytest.raises(HostError, match=r"cannot end the machine: its supervisor .* did not go in 0\.2 s"):
            client.close(0.2)
        assert ended(qemu_pid, timeout_s=PROMPT_S)
        assert slots.tickets(ours.slot.directory) == ()
    assert nothing_is_left(ours)
    assert "supervisor" not in {thread.name for thread in threading.enumerate()}


def test_supervisor_that_breaks_complains_to_its_log(plan: MakePlan, log: Path) -> None:
    with supervised(plan(argv=()), log=log) as client:
        assert client.final_event() == SILENT_END
    assert b"Traceback" in log.read_bytes()


def test_word_that_is_cut_short_by_a_kill_does_not_hide_the_end() -> None:
    words: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    _listen(io.BytesIO(b'{"event": "admitted"}\n{"event": "star'), words)
    assert [words.get(timeout=LIMIT_S)["event"], words.get(timeout=LIMIT_S)["event"]] == ["admitted", "exited"]


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"7",
        b'{"event": 7}',
        b'{"event": "sample"}',
        b'{"event": "sample", "sample": [1]}',
        b'{"event": "sample", "sample": {"process": 1}}',
        b'{"event": "answer"}',
        b'{"event": "answer", "id": 1}',
        b'{"event": "answer", "id": "1", "result": 0}',
    ],
)
def test_what_is_no_message_is_like_a_line_that_was_cut_short(line: bytes) -> None:
    words: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    _listen(io.BytesIO(line + b'\n{"event": "started"}\n'), words, SampleLog(None).add)
    assert [words.get(timeout=LIMIT_S)["event"], words.get(timeout=LIMIT_S)["event"]] == ["started", "exited"]


def test_an_end_that_does_not_say_all_is_one() -> None:
    words: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    _listen(io.BytesIO(b'{"event": "exited", "status": 3}\n'), words)
    assert words.get(timeout=LIMIT_S) == {**SILENT_END, "status": 3}


def test_a_listener_that_breaks_does_not_hide_the_end() -> None:
    words: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    sample = b'{"event": "sample", "sample": {}}\n'

    def broken(sample: Mapping[str, Any]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _listen(io.BytesIO(sample), words, broken)
    assert words.get(timeout=LIMIT_S) == SILENT_END


def test_clients_leave_no_descriptors_behind(plan: MakePlan, log: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    with supervised(plan(), log=log) as client:
        start(client)
    assert set(Path("/proc/self/fd").iterdir()) == before


# --- dying -----------------------------------------------------------------------------------------------------


@pytest.fixture
def caller(plan: MakePlan, log: Path) -> Iterator[Callable[[Plan], subprocess.Popen[bytes]]]:
    """Yield what starts a process, the leader of its group, that holds a client and does nothing else."""
    callers: list[subprocess.Popen[bytes]] = []

    def start(plan: Plan) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-c", CALLER, plan.to_json(), str(log)]
        env = {**os.environ, "PYTHONPATH": str(Path(vmtasks.__file__).parent.parent)}
        callers.append(
            subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, start_new_session=True)
        )
        return callers[-1]

    yield start
    for one in callers:
        with one:
            one.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "process"])
def test_caller_that_is_killed_leaves_nothing_and_nobody_on_its_pipe(
    caller: Callable[[Plan], subprocess.Popen[bytes]],
    plan: MakePlan,
    ended: Ended,
    number: signal.Signals,
    whole_group: bool,
) -> None:
    ours = plan()
    process = caller(ours)
    assert process.stdout
    qemu_pid = int(process.stdout.readline())
    supervisor_pid = supervisor_of(ours)
    assert not ended(qemu_pid, timeout_s=0)
    assert not ended(supervisor_pid, timeout_s=0)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    deadline = Deadline.after(PROMPT_S)
    assert ended(qemu_pid, timeout_s=deadline.left_s)
    assert ended(supervisor_pid, timeout_s=deadline.left_s)
    assert nothing_is_left(ours)
    assert select.select([process.stdout], [], [], deadline.left_s)[0], "somebody keeps the caller's pipe open"
    assert process.stdout.read() == b""


def test_reader_of_the_callers_pipe_waits_for_no_machine(
    caller: Callable[[Plan], subprocess.Popen[bytes]], plan: MakePlan, ended: Ended
) -> None:
    ours = plan({"quit": [["ignore"]], "SIGTERM": [["ignore"]]})
    process = caller(ours)
    assert process.stdout
    qemu_pid = int(process.stdout.readline())
    supervisor_pid = supervisor_of(ours)
    assert not ended(qemu_pid, timeout_s=0)
    os.kill(supervisor_pid, signal.SIGSTOP)  # the machine stays: now only pipes count
    process.kill()
    assert select.select([process.stdout], [], [], PROMPT_S)[0]
    assert process.stdout.read() == b""
    assert not ended(qemu_pid, timeout_s=0)
    os.kill(supervisor_pid, signal.SIGKILL)
    assert ended(qemu_pid, timeout_s=PROMPT_S)


def test_caller_and_supervisor_that_are_killed_at_once(
    caller: Callable[[Plan], subprocess.Popen[bytes]], plan: MakePlan, ended: Ended
) -> None:
    ours = plan()
    process = caller(ours)
    assert process.stdout
    qemu_pid = int(process.stdout.readline())
    assert not ended(qemu_pid, timeout_s=0)
    os.kill(supervisor_of(ours), signal.SIGKILL)
    process.kill()
    deadline = Deadline.after(PROMPT_S)
    assert ended(qemu_pid, timeout_s=deadline.left_s)
    while not nothing_is_left(ours):
        assert not deadline.passed


def test_the_ticket_of_a_supervisor_that_was_killed_goes_at_once(plan: MakePlan, log: Path, ended: Ended) -> None:
    ours = plan()
    with supervised(ours, log=log) as client:
        start(client)
        pid = supervisor_of(ours)
        assert not ended(pid, timeout_s=0)
        os.kill(pid, signal.SIGKILL)
        assert ended(pid)
    assert list(Path(ours.slot.directory).iterdir()) == []
