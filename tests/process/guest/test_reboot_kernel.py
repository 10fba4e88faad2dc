"""A reboot into another kernel, or with other arguments: a boot loader that is played, files and programs and all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.played_boot_loader import NEW, OLD, BootedMachine, play
from vmtasks import BootError, BootOptions, Guest, GuestLost, TimedOut, UsageError
from vmtasks.errors import TestFailed as ProjectFailed
from vmtasks.providers.base import MachineRequest
from vmtasks.testing import FakeProvider

LIMIT_S = 20.0


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    play(monkeypatch)
    with FakeProvider().machine(MachineRequest(image="bookworm", options=BootOptions(name="m"))) as guest:
        yield guest


def running(guest: Guest) -> tuple[str, list[str]]:
    release, words = guest.query("uname --kernel-release; cat /proc/cmdline").splitlines()
    return release, words.split()[1:]


def test_a_kernel_is_booted_once_by_its_release_or_its_entry(guest: Guest) -> None:
    before = guest.boot_id()
    guest.reboot(kernel=NEW, timeout_s=LIMIT_S)
    assert running(guest) == (NEW, ["root=/dev/vda1", "quiet"])
    assert guest.boot_id() != before
    guest.reboot(timeout_s=LIMIT_S)
    assert running(guest)[0] == OLD
    guest.reboot(kernel=f"{NEW}-recovery", timeout_s=LIMIT_S)
    assert running(guest) == (NEW, ["root=/dev/vda1", "single"])


@pytest.mark.parametrize("args", [["panic=5", "mitigations=off"], "panic=5 mitigations=off"])
def test_arguments_come_with_a_word_that_no_other_boot_has_and_go_with_that_boot(
    guest: Guest, args: list[str] | str
) -> None:
    guest.reboot(kernel_args=args, timeout_s=LIMIT_S)
    release, words = running(guest)
    assert (release, words[:4]) == (OLD, ["root=/dev/vda1", "quiet", "panic=5", "mitigations=off"])
    assert re.fullmatch(r"vmtasks\.boot=[0-9a-f]{16}", words[4])
    assert "vmtasks-reboot" not in [entry.id for entry in guest.boot_loader.entries]
    guest.reboot(kernel=NEW, kernel_args=["a=1"], timeout_s=LIMIT_S)
    assert running(guest)[1][:3] == ["root=/dev/vda1", "quiet", "a=1"]
    assert running(guest)[1][3] != words[4]


def test_an_entry_that_names_no_release_is_known_by_its_word(guest: Guest) -> None:
    guest.reboot(kernel="mine", timeout_s=LIMIT_S)
    assert [word.partition("=")[0] for word in running(guest)[1]] == ["root", "vmtasks.boot"]


def test_another_kernel_than_was_asked_for_is_told_with_both(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BootedMachine, "boots", "simple")
    with pytest.raises(ProjectFailed, match=rf"^m came back with the kernel {OLD}, and not with {NEW}$"):
        guest.reboot(kernel=NEW, timeout_s=LIMIT_S)
    with pytest.raises(ProjectFailed, match=rf"^m runs {OLD} without a=1 vmtasks\.boot=\w+: it was booted with BOOT_"):
        guest.reboot(kernel_args=["a=1"], timeout_s=LIMIT_S)
    assert "vmtasks-reboot" not in [entry.id for entry in guest.boot_loader.entries]


def test_what_never_went_down_boots_its_default_the_next_time(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = guest.run
    monkeypatch.setattr(guest, "run", lambda line, **options: asks("true" if "reboot" in line else line, **options))
    with pytest.raises(TimedOut, match=r"^m never went down: it is in the same boot after [\d.]+ s$"):
        guest.reboot(kernel=NEW, kernel_args=["a=1"], timeout_s=1)
    monkeypatch.undo()
    assert "vmtasks-reboot" not in [entry.id for entry in guest.boot_loader.entries]
    assert guest.query("cat /boot/grub/grubenv") == ""


def test_what_never_came_back_is_told(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = guest.run
    monkeypatch.setattr(guest, "run", lambda line, **options: asks("poweroff" if "reboot" in line else line, **options))
    with pytest.raises((BootError, GuestLost), match=r"^m (went down, and never came|did not come) back: ") as told:
        guest.reboot(kernel=NEW, timeout_s=2)
    assert "did not answer over ssh" in str(told.value)


@pytest.mark.parametrize(
    ("kernel", "args", "message"),
    [
        ("6.6.6", (), rf"cannot reboot m with the kernel 6\.6\.6: its boot loader has {OLD}, {NEW}"),
        ("", ["a b"], "'a b' cannot be an argument of the kernel"),
        ("", [""], "'' cannot be an argument of the kernel"),
        ("", ["x='y'"], "cannot be an argument of the kernel"),
    ],
)
def test_what_cannot_be_booted_is_said_before_anything_is_done(
    guest: Guest, kernel: str, args: list[str], message: str
) -> None:
    before = guest.boot_id()
    with pytest.raises(UsageError, match=message):
        guest.reboot(kernel=kernel, kernel_args=args)
    assert guest.boot_id() == before


def test_a_machine_without_a_boot_loader_says_what_serves_instead() -> None:
    provider = FakeProvider(instead={"# look for a boot loader*": ":"})
    with provider.machine(MachineRequest(image="bookworm", options=BootOptions(name="m"))) as direct:
        before = direct.boot_id()
        with pytest.raises(UsageError, match=r"^m has no boot loader: it boots directly") as told:
            direct.reboot(kernel_args=["a=1"])
        assert "--kernel" in told.value.hint
        assert "kernel_options" in told.value.hint
        assert direct.boot_id() == before


def test_the_fakes_files_are_nobody_elses(guest: Guest) -> None:
    assert not Path("/etc/grub.d/42_vmtasks").exists()
    assert guest.boot_loader.default.id == "simple"


def test_a_connection_that_breaks_without_a_reboot_is_no_reboot_for_ever(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = guest.run
    monkeypatch.setattr(guest, "run", lambda line, **options: asks("true" if "reboot" in line else line, **options))
    monkeypatch.setattr(guest, "is_up", lambda: False)
    with pytest.raises(TimedOut, match=r"^m never went down: it is in the same boot after [\d.]+ s$"):
        guest.reboot(timeout_s=1)
