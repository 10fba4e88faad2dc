"""A machine's life on a real QEMU: it comes up, or says why not; and whatever happens, it goes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks import BootError, ConnectionLost, Guest, GuestLost, HostError, UsageError, boot, events
from vmtasks.deadline import Deadline
from vmtasks.host.lease import Lease, leases

GONE_LIMIT_S = 5.0

CALLER = """
import os
from vmtasks import boot
from vmtasks.host.lease import leases
with boot("bookworm") as guest:
    lease, = [lease for lease in leases() if lease.alive and lease.info["caller_pid"] == os.getpid()]
    print(lease.info["supervisor_pid"], lease.info["qemu_pid"], lease.directory, flush=True)
    guest.run(["sleep", "600"])
"""


@pytest.fixture
def caller() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", CALLER], stdout=subprocess.PIPE, text=True)
    with process:
        yield process
        process.kill()


def wait_for_end(pid: int, timeout_s: float) -> bool:
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([ended], [], [], timeout_s)[0])
    finally:
        os.close(ended)


def wait_for_absence(path: Path, timeout_s: float) -> bool:
    deadline = Deadline.after(timeout_s)
    while path.exists() and not deadline.passed:
        select.select([], [], [], 0.05)
    return not path.exists()


def started(caller: subprocess.Popen[str]) -> tuple[int, int, Path]:
    if caller.stdout is None:
        raise AssertionError
    supervisor, qemu, directory = caller.stdout.readline().split()
    return int(supervisor), int(qemu), Path(directory)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_caller_that_ends_takes_its_machine_along(caller: subprocess.Popen[str], number: signal.Signals) -> None:
    supervisor, qemu, directory = started(caller)
    caller.send_signal(number)
    assert wait_for_end(qemu, GONE_LIMIT_S)
    assert wait_for_end(supervisor, GONE_LIMIT_S)
    assert wait_for_absence(directory, GONE_LIMIT_S)
    if caller.stdout is not None:
        assert caller.stdout.read() == ""  # nobody holds our pipe open


def own_lease() -> Lease:
    (lease,) = [lease for lease in leases() if lease.info["caller_pid"] == os.getpid()]
    return lease


def test_a_killed_supervisor_takes_qemu_and_the_disk_along() -> None:
    def kill_it() -> None:
        with boot("bookworm") as guest:
            left.append(own_lease())
            os.kill(left[0].info["supervisor_pid"], signal.SIGKILL)
            assert wait_for_end(left[0].info["qemu_pid"], GONE_LIMIT_S)
            guest.run(["true"], warn=True)

    left: list[Lease] = []
    with pytest.raises(ConnectionLost):
        kill_it()
    assert not left[0].directory.exists()


def test_a_killed_qemu_is_told_at_once_with_the_console(tmp_path: Path) -> None:
    def kill_it() -> None:
        with boot("bookworm", log_dir=tmp_path) as guest:
            guest.succeed("echo something to see >/dev/ttyS0")
            os.kill(own_lease().info["qemu_pid"], signal.SIGKILL)
            guest.run(["sleep", "600"], warn=True)

    with pytest.raises(ConnectionLost, match="is gone"):
        kill_it()
    assert "something to see" in (tmp_path / "bookworm-console.log").read_text()


def test_a_kernel_that_panics_ends_the_wait_and_every_attempt_keeps_its_console(images: Path, tmp_path: Path) -> None:
    (images / "panics.toml").write_text('from = "bookworm"\nkernel_options = "init=/nothing/there"\n')
    notes: list[str] = []
    with (
        events.listening(lambda event: notes.append(event.text) if isinstance(event, events.Note) else None),
        pytest.raises(BootError, match="panicked: Kernel panic - not syncing"),
        boot("panics", attempts=2, log_dir=tmp_path),
    ):
        pass
    assert "trying again (2 of 2)" in notes[-1]
    for name in ("panics-console.log", "panics-console-2.log"):
        assert "Kernel panic" in (tmp_path / name).read_text(errors="replace")


def test_a_panic_in_the_middle_of_a_command_is_told(tmp_path: Path) -> None:
    with pytest.raises(GuestLost, match="panicked"), boot("bookworm", log_dir=tmp_path) as guest:
        guest.run("echo c >/proc/sysrq-trigger; sleep 600", timeout_s=120, warn=True)


def test_qemu_that_refuses_its_command_line_says_so() -> None:
    with (
        pytest.raises(HostError, match="no-such-device"),
        boot("bookworm", extra_args=("-device", "no-such-device")),
    ):
        pass


def test_more_memory_than_there_is_or_than_machines_may_have_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match="cannot give a machine 10000000 MiB of memory"):
        boot("bookworm", memory_mib=10**7).__enter__()
    monkeypatch.setenv("VMTASKS_SLOTS_MEMORY_MIB", "512")
    with pytest.raises(HostError, match="Give it less memory, or raise the limit"):
        boot("bookworm", memory_mib=1024).__enter__()


def test_two_machines_are_two(tmp_path: Path) -> None:
    with boot("bookworm", name="left") as left, boot("bookworm", name="right") as right:
        for guest in (left, right):
            guest.succeed(f"echo {guest.name} >/var/tmp/name")
        assert left.succeed(["cat", "/var/tmp/name"]) == "left\n"
        assert right.succeed(["cat", "/var/tmp/name"]) == "right\n"
        assert machine_id(left) != machine_id(right)


def machine_id(guest: Guest) -> str:
    return guest.succeed(["cat", "/etc/machine-id"])


def test_the_lease_and_the_disk_go_with_the_machine() -> None:
    with boot("bookworm"):
        lease = own_lease()
        assert lease.alive
        assert json.loads((lease.directory / "lease.json").read_text())["image"] == "bookworm"
    assert not lease.directory.exists()
    assert wait_for_end(lease.info["qemu_pid"], 0)
