"""Faults in the guest: each ends the command in time, as the outcome that it is, and leaves its evidence."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import pytest

from vmtasks import CommandFailed, ConnectionLost, Guest, GuestLost, TestFailed, TimedOut, boot, events
from vmtasks.deadline import Deadline
from vmtasks.host.lease import leases
from vmtasks.ssh import channel, session

MIB = 1024 * 1024
LIMIT_S = 120.0
"""Longer than any of these takes."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have machines asked for signs of life often, and not waited for long."""
    monkeypatch.setattr(session, "KEEPALIVE_S", 0.5)
    monkeypatch.setattr(session, "SILENCE_LIMIT_S", 6.0)
    monkeypatch.setattr(session, "END_LIMIT_S", 3.0)


def guest_stops(guest: Guest) -> None:
    guest.client.qmp("stop")


def qemu_stops(_: Guest) -> None:
    (pid,) = (lease.info["qemu_pid"] for lease in leases() if lease.info["caller_pid"] == os.getpid())
    os.kill(pid, signal.SIGSTOP)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("hang", [guest_stops, qemu_stops])
def test_a_machine_that_hangs_is_lost_whoever_waits_for_it_and_goes_all_the_same(
    hang: Callable[[Guest], None], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(bytes(64 * MIB))
    with boot("bookworm", log_dir=tmp_path) as guest:
        guest.succeed("echo something to see >/dev/ttyS0")
        hang(guest)
        with pytest.raises(ConnectionLost, match="bookworm no longer answers: no answer within 1 s"):
            guest.run(["true"], timeout_s=1, warn=True)
        with pytest.raises(ConnectionLost, match="bookworm has not answered for 6 s"):
            guest.put(tmp_path / "file", "/var/tmp/file")
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 20
    assert "something to see" in (tmp_path / "bookworm-console.log").read_text()


@pytest.mark.usefixtures("impatient")
def test_a_limit_that_passes_on_a_machine_that_hangs_is_the_limits_and_told_soon(tmp_path: Path) -> None:
    def hear(event: events.Event) -> None:
        if isinstance(event, events.Output):  # it runs
            guest_stops(guest)

    with boot("bookworm", log_dir=tmp_path) as guest:
        began_s = time.monotonic()
        with (
            pytest.raises(TimedOut, match="did not end within 4 s, and bookworm no longer answers"),
            events.listening(hear),
        ):
            guest.run("echo begun; sleep 600", timeout_s=4, warn=True)
    assert time.monotonic() - began_s < 30


@pytest.mark.usefixtures("impatient")
def test_a_machine_whose_network_is_gone_is_lost_by_its_own_doing(tmp_path: Path) -> None:
    with pytest.raises(GuestLost, match="has not answered for 6 s"), boot("bookworm", log_dir=tmp_path) as guest:
        guest.run("ip link set eth0 down; sleep 600", timeout_s=LIMIT_S, warn=True)


@pytest.mark.parametrize("line", ["systemctl --no-block reboot", "pkill -KILL sshd"])
def test_a_connection_that_a_command_breaks_is_told_and_can_be_made_anew(line: str, tmp_path: Path) -> None:
    with boot("bookworm", log_dir=tmp_path) as guest:
        with pytest.raises(GuestLost, match="broke while it ran `echo begun;") as lost:
            guest.run(f"echo begun; sleep 1; {line}; sleep 600", timeout_s=LIMIT_S, warn=True)
        assert lost.value.details[0] == "begun"  # what systemctl says of its own end may come after it
        guest.wait_up(timeout_s=LIMIT_S)
        guest.succeed(["true"])


def _watch_to_its_end(guest: Guest) -> None:
    deadline = Deadline.after(LIMIT_S)
    while not deadline.passed:
        guest.watch(deadline.left_s)  # the first news is that it shuts down


def test_a_machine_that_powers_itself_off_is_gone(tmp_path: Path) -> None:
    with boot("bookworm", log_dir=tmp_path) as guest:
        with pytest.raises(GuestLost):
            guest.run("systemctl --no-block poweroff; sleep 600", timeout_s=LIMIT_S, warn=True)
        with pytest.raises(GuestLost, match="is gone: it powered itself off"):
            _watch_to_its_end(guest)


def test_a_command_that_eats_all_memory_is_killed_and_nothing_else(tmp_path: Path) -> None:
    notes: list[str] = []
    with (
        events.listening(lambda event: notes.append(event.text) if isinstance(event, events.Note) else None),
        boot("bookworm", log_dir=tmp_path) as guest,
    ):
        with pytest.raises(CommandFailed, match="ended by signal 9"):
            guest.succeed(["tail", "/dev/zero"], timeout_s=LIMIT_S)
        guest.succeed(["true"])
    assert "the kernel of bookworm says: Out of memory: Killed process" in notes[-1]
    assert "(tail); --memory-mib gives it more" in notes[-1]


OOPS = ("BUG: unable to handle page fault for address: ffff888058a67000", "Oops: 000b [#3] SMP NOPTI")


@pytest.mark.parametrize("policy", ["warn", "fail"])
def test_an_oops_that_a_machine_survives_is_told_and_fails_the_run_where_that_is_asked_for(
    policy: Literal["warn", "fail"], tmp_path: Path
) -> None:
    heard: list[events.ConsoleAlarm] = []
    with (
        events.listening(lambda event: heard.append(event) if isinstance(event, events.ConsoleAlarm) else None),
        pytest.raises(TestFailed, match=r"reports an error \(oops\)") if policy == "fail" else nullcontext(),
        boot("bookworm", log_dir=tmp_path, alarms=policy) as guest,
    ):
        guest.succeed("".join(f"echo '<1>{line}' >/dev/kmsg; " for line in OOPS))
        guest.succeed("echo BUG: a program prints this >/dev/console")
        assert guest.console.expect(r"Oops: \w+ \[#3\][^$]*BUG: a program prints this", timeout_s=LIMIT_S)
    assert {alarm.type for alarm in heard} == {"oops"}
    assert (heard[0].machine, heard[0].message) == ("bookworm", OOPS[0])
    assert {line.partition("] ")[2] for alarm in heard for line in alarm.lines} >= set(OOPS)


def test_a_full_disk_in_the_guest_fails_the_test_and_so_it_does_where_we_write_ourselves(
    tmp_path: Path,
) -> None:
    with boot("bookworm", log_dir=tmp_path) as guest:
        guest.run(
            "fallocate -l $(($(stat -f -c %f /) * $(stat -f -c %S /))) /var/fill", warn=True
        )  # up to the last block
        with pytest.raises(CommandFailed) as failed:
            guest.succeed("dd if=/dev/zero of=/var/file bs=1M count=50")
        assert any("No space left on device" in line for line in failed.value.details)
        for size_bytes in (100_000, 2 * MIB):  # over ssh, and by disk
            (tmp_path / "file").write_bytes(os.urandom(size_bytes))
            with pytest.raises(TestFailed, match=r"cannot put .* on bookworm: .*No space left on device"):
                guest.put(tmp_path / "file", "/var/tmp/file")
        assert guest.get("/etc/hostname", tmp_path / "hostname")


def test_a_command_that_never_stops_printing_ends_at_its_limit_and_fills_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "LOG_BYTES", MIB)
    with boot("bookworm", log_dir=tmp_path) as guest:
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(TimedOut, match=r"`yes` on bookworm did not end within 10 s$") as limit:
            guest.run(["yes"], timeout_s=10, warn=True)
        assert limit.value.details == ("y",) * 15
        assert guest.run(["pgrep", "yes"], warn=True).exited == 1
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024 < 64
    assert (tmp_path / "bookworm-01-yes.log").stat().st_size < MIB + channel.KEEP_BYTES + 100
