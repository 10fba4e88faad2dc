"""A machine's power, on real machines: resets, halts, and commands that go on through reboots."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks import Guest, GuestLost, TimedOut, boot, events

LIMIT_S = 200.0
HANGS = "systemctl mask --runtime reboot.target"
"""Lets no reboot begin: systemd has nothing to start for it."""


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    with boot("bookworm", name="m", log_dir=tmp_path, purpose="vmtasks's own tests") as machine:
        machine.timeout_s = LIMIT_S
        yield machine


def test_a_reset_needs_no_kernel_that_listens_and_keeps_what_is_on_the_disk(guest: Guest) -> None:
    before, name = guest.boot_id(), guest.succeed(["hostname"])
    guest.succeed("echo kept >/var/tmp/mark; sync; echo lost >/dev/shm/mark")
    with pytest.raises(GuestLost, match="the kernel of m panicked"):
        guest.run("echo c >/proc/sysrq-trigger; sleep 600", warn=True)
    guest.hard_reset(timeout_s=LIMIT_S)
    assert guest.boot_id() != before
    assert guest.succeed(["cat", "/var/tmp/mark"]) == "kept\n"
    guest.fail(["test", "-e", "/dev/shm/mark"])
    assert guest.succeed(["hostname"]) == name


def test_a_reboot_that_hangs_is_a_reset_where_that_is_allowed(guest: Guest) -> None:
    notes: list[str] = []
    guest.succeed(HANGS)
    before = guest.boot_id()
    with pytest.raises(TimedOut, match=r"m never went down: it is in the same boot after"):
        guest.reboot(timeout_s=5)
    with events.listening(lambda event: notes.append(event.text) if isinstance(event, events.Note) else None):
        guest.reboot(timeout_s=LIMIT_S, hard_after_s=5)
    assert notes[0].startswith("m did not reboot in order within 5 s, and is reset hard: m never went down: ")
    assert guest.boot_id() != before


def test_a_machine_that_is_halted_is_off(guest: Guest) -> None:
    guest.halt(timeout_s=LIMIT_S)
    for verb in (guest.boot_id, guest.hard_reset, guest.cpu_count):
        with pytest.raises(GuestLost, match="m is down"):
            verb()
    with pytest.raises(GuestLost, match="m is gone: it powered itself off"):
        guest.power_cycle()


def test_a_command_goes_on_through_reboots_of_every_kind(guest: Guest) -> None:
    ways = ["systemctl reboot", "systemctl reboot; sleep infinity", "echo b >/proc/sysrq-trigger; sleep infinity"]
    cases = "".join(f"{count}) {way} ;;\n" for count, way in enumerate(ways))
    line = f"echo $VMTASKS_REBOOT_COUNT >>/var/tmp/counts; sync\ncase $TMT_REBOOT_COUNT in\n{cases}esac"
    began_s = time.monotonic()
    result = guest.run_through_reboots(line, timeout_s=4 * LIMIT_S)
    assert (result.exited, guest.succeed(["cat", "/var/tmp/counts"])) == (0, "0\n1\n2\n3\n")
    assert time.monotonic() - began_s < 4 * LIMIT_S
    with pytest.raises(GuestLost, match="broke while it ran"):
        guest.run_through_reboots("pkill -KILL sshd; sleep 600", timeout_s=LIMIT_S)
