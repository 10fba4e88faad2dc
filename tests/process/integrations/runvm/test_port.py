"""The port that runvm wants: whoever has it is named and waited for, and only a stray machine of ours is ended."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmtasks import events
from vmtasks.errors import HostError
from vmtasks.integrations.runvm import port as of_port
from vmtasks.integrations.runvm.port import wait_until_free

LIMIT_S = 30.0
MACHINE = """
import fcntl, json, os, signal, socket, sys
directory, caller = sys.argv[1:3]
for name in sys.argv[3:]:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
lease = {"name": "tmp", "what": "runvm tmp.qcow2", "caller_pid": int(caller), "supervisor_pid": os.getpid(),
        "ports": {"22": port}, "pid_namespace": os.environ.get("ANOTHER") or os.readlink("/proc/self/ns/pid")}
with open(f"{directory}/lease.json", "w") as file:
    json.dump(lease, file)
    file.flush()
    fcntl.flock(file, fcntl.LOCK_EX)
    print(port, flush=True)
    while True:
        signal.pause()
"""

Ended = Callable[..., bool]


@pytest.fixture(autouse=True)
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path))
    return tmp_path / "machines"


@pytest.fixture
def notes() -> Iterator[list[str]]:
    heard: list[str] = []
    with events.listening(lambda event: heard.append(event.text) if isinstance(event, events.Note) else None):
        yield heard


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@contextmanager
def machine(machines: Path, caller_pid: int, *ignored: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield what has a machine's lease and listens, and its port."""
    directory = machines / "tmp-1"
    directory.mkdir(parents=True)
    argv = [sys.executable, "-c", MACHINE, str(directory), str(caller_pid), *ignored]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, process_group=0) as process:  # one is stopped
        try:
            assert process.stdout
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def gone_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


def test_a_free_port_is_had_at_once_and_any_port_is_free(notes: list[str], listener: socket.socket) -> None:
    number = listener.getsockname()[1]
    listener.close()
    wait_until_free(number, timeout_s=LIMIT_S)
    wait_until_free(0, timeout_s=LIMIT_S)
    assert notes == []


def test_a_port_that_has_just_been_used_is_free(listener: socket.socket) -> None:
    address = listener.getsockname()
    with socket.create_connection(address) as client:
        served, _ = listener.accept()
        served.close()  # in this order, our end of the connection stays for a minute, in TIME_WAIT
        assert client.recv(1) == b""
    listener.close()
    wait_until_free(address[1], timeout_s=LIMIT_S)


def test_a_stranger_is_named_and_waited_for_in_vain(notes: list[str], listener: socket.socket) -> None:
    number = listener.getsockname()[1]
    program = Path("/proc/self/comm").read_text().strip()
    with pytest.raises(HostError) as raised:
        wait_until_free(number, timeout_s=0.5)
    assert str(raised.value) == f"cannot have port {number}: {program} (pid {os.getpid()}) has it"
    assert "--port=0" in raised.value.hint
    assert notes == [f"waiting for port {number}, which {program} (pid {os.getpid()}) has"]


def test_no_limit_is_no_wait(listener: socket.socket) -> None:
    with pytest.raises(HostError, match="cannot have port"):
        wait_until_free(listener.getsockname()[1], timeout_s=0.0)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")])  # noqa: S104
def test_who_listens_everywhere_listens_here_too(family: socket.AddressFamily, address: str) -> None:
    with (
        socket.create_server((address, 0), family=family, dualstack_ipv6=family == socket.AF_INET6) as server,
        pytest.raises(HostError, match=re.escape(f"(pid {os.getpid()}) has it")),
    ):
        wait_until_free(server.getsockname()[1], timeout_s=0.0)


def test_a_stranger_who_leaves_meanwhile_is_thanked_for_it(listener: socket.socket) -> None:
    def leave(event: events.Event) -> None:
        if isinstance(event, events.Note):
            listener.close()

    with events.listening(leave):
        wait_until_free(listener.getsockname()[1], timeout_s=LIMIT_S)
    assert listener.fileno() == -1


def test_a_machine_of_ours_whose_caller_lives_is_left_alone(
    machines: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch, ended: Ended
) -> None:
    monkeypatch.setattr(of_port, "_STRAY_GRACE_S", 0.1)
    with machine(machines, os.getpid()) as (supervisor, number):
        with pytest.raises(HostError, match=r"cannot have port .*: machine tmp \(runvm tmp.qcow2, pid "):
            wait_until_free(number, timeout_s=1.0)
        assert not ended(supervisor.pid, timeout_s=0)
    assert notes == [f"waiting for port {number}, which machine tmp (runvm tmp.qcow2, pid {os.getpid()}) has"]


@pytest.mark.parametrize("ignored", [(), ("SIGTERM",)])
def test_a_stray_of_ours_is_ended_kindly_if_it_lets_us(
    machines: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch, ignored: tuple[str, ...]
) -> None:
    monkeypatch.setattr(of_port, "_STRAY_GRACE_S", 0.1 if ignored else LIMIT_S)
    with machine(machines, gone_pid(), *ignored) as (supervisor, number):
        wait_until_free(number, timeout_s=LIMIT_S)
        assert supervisor.wait(LIMIT_S) == -(signal.SIGKILL if ignored else signal.SIGTERM)
    assert "which is being ended because its caller is gone" in notes[0]


def test_a_stray_that_was_stopped_goes_as_well(machines: Path) -> None:
    with machine(machines, gone_pid()) as (supervisor, number):
        supervisor.send_signal(signal.SIGSTOP)
        wait_until_free(number, timeout_s=LIMIT_S)
        assert supervisor.wait(LIMIT_S) == -signal.SIGTERM


def test_a_machine_of_another_container_is_left_alone(machines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its processes are called there says nothing here."""
    monkeypatch.setenv("ANOTHER", "pid:[1]")
    with machine(machines, gone_pid()) as (process, number):
        with pytest.raises(HostError, match="machine tmp"):
            wait_until_free(number, timeout_s=0.5)
        assert process.poll() is None


def test_what_a_dead_machine_has_written_down_ends_nobody(machines: Path, listener: socket.socket) -> None:
    """Its supervisor's number may be anybody's by now."""
    number = listener.getsockname()[1]
    with subprocess.Popen(["sleep", "600"]) as innocent:
        directory = machines / "tmp-1"
        directory.mkdir(parents=True)
        lease = {"name": "tmp", "what": "", "caller_pid": gone_pid(), "supervisor_pid": innocent.pid}
        (directory / "lease.json").write_text(json.dumps({**lease, "ports": {"22": number}}))
        with pytest.raises(HostError):
            wait_until_free(number, timeout_s=0.5)
        assert innocent.poll() is None
        innocent.kill()
