"""Kernels of a guest that is booted directly: what is brought to the host, and what is to be booted with it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks import BootOptions, Guest, HostError, TimedOut, UsageError, kernels
from vmtasks.debian import apt
from vmtasks.errors import CommandFailed
from vmtasks.errors import TestFailed as ProjectFailed
from vmtasks.guest import direct_boot
from vmtasks.guest.power import Power
from vmtasks.machine.kernel_rooms import KernelRooms
from vmtasks.providers.base import MachineRequest
from vmtasks.spec import DirectKernel
from vmtasks.ssh.command import Command
from vmtasks.testing import FakeProvider
from vmtasks.testing.fake_power import FakePower

LIMIT_S = 20.0
OLD, NEW = "6.1.0-50-cloud-amd64", "6.12.9-own"
BYTES = bytes(range(256)) * 300
"""What no text has: what is brought must be the same."""
_PLACES = re.compile(r"(?<!\w)/(boot|lib/modules|usr/sbin|proc/cmdline)(?!\w)")
_MAKES_INITRD = """#!/bin/sh
for release; do :; done
while [ $# -gt 1 ]; do case $1 in -o) out=$2 ;; --include-modules=*) modules=${1#*=} ;; esac; shift; done
[ "$release" != 6.6.6-broken ] || { echo no modules >&2; exit 1; }
echo "$release $modules" >"$out"
"""


class Boots:
    """Notes what it is to be booted with, as a machine's own does."""

    def __init__(self, room: Path) -> None:
        self.image = self.default = DirectKernel(
            kernel=room / "image", initrd=room / "image-initrd", command_line="root=/dev/vda rw quiet"
        )
        self.default_release = ""
        self.once: DirectKernel | None = None
        self.rooms = KernelRooms(room, machine="m")

    def choose(self, *, default: DirectKernel, release: str, once: DirectKernel | None = None) -> None:
        self.default, self.default_release, self.once = default, release, once

    def turn(self) -> DirectKernel:
        boot, self.once = self.once or self.default, None
        return boot


class DirectMachine(FakePower):
    """A machine that is booted with what its host has for it."""

    boots: Boots
    ignores = False
    """Whether it boots the image's kernel, whatever it is told."""

    def hand(self) -> Power:
        """Return what a guest has of it."""
        return Power(reset=self._press, direct=self.boots)

    def command(self, command: Command) -> Command:
        """Have a command find the machine's files here."""
        found = super().command(command)
        return self._here(found) if isinstance(found, str) else [self._here(word) for word in found]

    def _here(self, text: str) -> str:
        return _PLACES.sub(rf"{self._place}\g<0>", text)

    def switch(self, *, off: bool = False) -> None:
        """Boot what the host has."""
        at = self._place
        if not (at / "boot").exists():
            for name in ("boot", "lib/modules", "usr/sbin", "proc"):
                (at / name).mkdir(parents=True)
            for release in (OLD, NEW):
                (at / "boot" / f"vmlinuz-{release}").write_bytes(release.encode() + b"\n" + BYTES)
                (at / "lib/modules" / release).mkdir()
            (at / "usr/sbin/mktirfs").write_text(_MAKES_INITRD)
            (at / "usr/sbin/mktirfs").chmod(0o755)
            (at / "uname").write_text(f"#!/bin/sh\ncat {at}/release\n")
            (at / "uname").chmod(0o755)
        boot = self.boots.image if self.ignores else self.boots.turn()
        release = boot.kernel.read_bytes().partition(b"\n")[0].decode() if boot.kernel.exists() else OLD
        (at / "release").write_text(f"{release}\n")
        (at / "proc/cmdline").write_text(f"{boot.command_line}\n")
        super().switch(off=off)


@pytest.fixture
def boots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Boots:
    boots = Boots(tmp_path)
    monkeypatch.setattr(DirectMachine, "boots", boots, raising=False)
    monkeypatch.setattr(DirectMachine, "ignores", False)
    monkeypatch.setattr("vmtasks.testing.fake_power.FakePower", DirectMachine)
    return boots


@pytest.fixture
def guest(boots: Boots) -> Iterator[Guest]:
    assert boots
    provider = FakeProvider(instead={"# find the kernel*": f"echo /boot/vmlinuz-{NEW}"})
    with provider.machine(MachineRequest(image="bookworm", options=BootOptions(name="m"))) as guest:
        yield guest


def running(guest: Guest) -> tuple[str, list[str]]:
    release, words = guest.query("uname --kernel-release; cat /proc/cmdline").splitlines()
    return release, words.split()


def place(guest: Guest) -> Path:
    """Return where the machine's files are."""
    return Path(guest.query("cd /boot && pwd -P").strip())


def test_a_kernel_is_booted_once_with_its_own_initrd(guest: Guest, boots: Boots, tmp_path: Path) -> None:
    guest.reboot(kernel=NEW, timeout_s=LIMIT_S)
    release, words = running(guest)
    assert (release, words[:-1]) == (NEW, ["root=/dev/vda", "rw", "quiet"])
    assert re.fullmatch(r"vmtasks\.boot=[0-9a-f]{16}", words[-1])
    kept = tmp_path / "kernel-1"
    assert (kept / "vmlinuz").read_bytes() == NEW.encode() + b"\n" + BYTES
    assert (kept / "initrd").read_text() == f"{NEW} virtio_pci,virtio_blk,virtio_net,ext4,crc32c_generic\n"
    assert boots.default == boots.image
    guest.reboot(timeout_s=LIMIT_S)
    assert running(guest) == (OLD, ["root=/dev/vda", "rw", "quiet"])


def test_arguments_alone_bring_no_files_and_are_each_there_once(guest: Guest, tmp_path: Path) -> None:
    guest.reboot(kernel_args=["quiet", "a=1"], timeout_s=LIMIT_S)
    release, words = running(guest)
    assert (release, words[:-1]) == (OLD, ["root=/dev/vda", "rw", "quiet", "a=1"])
    assert list(tmp_path.iterdir()) == []


def test_what_is_installed_is_booted_from_then_on(guest: Guest, boots: Boots, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[list[str]] = []
    monkeypatch.setattr(apt, "install", lambda _, packages: installed.append(packages))
    assert kernels.install(guest, "linux-image-own", args=["b=1"]) == NEW
    assert installed == [["linux-image-own"]]
    for _ in range(2):
        guest.reboot(timeout_s=LIMIT_S)
        kernels.expect_running(guest, NEW, ["b=1", "root=/dev/vda"])
    guest.reboot(kernel=NEW, kernel_args="c=1", timeout_s=LIMIT_S)
    assert running(guest)[1][3:5] == ["b=1", "c=1"], "it is the default, with its arguments"
    guest.reboot(kernel=OLD, timeout_s=LIMIT_S)
    assert (running(guest)[0], "b=1" in running(guest)[1]) == (OLD, False)
    guest.reboot(timeout_s=LIMIT_S)
    assert running(guest) == (NEW, ["root=/dev/vda", "rw", "quiet", "b=1"])
    assert boots.default_release == NEW


@pytest.mark.parametrize("once", [True, False])
def test_what_is_not_to_be_the_default_is_not(guest: Guest, monkeypatch: pytest.MonkeyPatch, *, once: bool) -> None:
    monkeypatch.setattr(apt, "install", lambda *_: None)
    assert kernels.install(guest, "linux-image-own", default=False, once=once) == NEW
    guest.reboot(timeout_s=LIMIT_S)
    assert running(guest)[0] == (NEW if once else OLD)
    guest.reboot(timeout_s=LIMIT_S)
    assert running(guest)[0] == OLD


def test_arguments_that_nothing_would_keep_are_refused_before_anything_is_done(guest: Guest) -> None:
    with pytest.raises(UsageError, match="cannot keep arguments for a kernel that m is not to boot"):
        kernels.install(guest, "linux-image-own", args=["a=1"], default=False)
    with pytest.raises(UsageError, match="'a b' cannot be an argument"):
        kernels.install(guest, "linux-image-own", args=["a b"])


def test_another_kernel_than_was_asked_for_is_told(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DirectMachine, "ignores", True)
    with pytest.raises(ProjectFailed, match=rf"^m came back with the kernel {OLD}, and not with {NEW}$"):
        guest.reboot(kernel=NEW, timeout_s=LIMIT_S)
    with pytest.raises(ProjectFailed, match=rf"^m runs {OLD} without a=1 vmtasks\.boot=\w+: it was booted with root="):
        guest.reboot(kernel_args=["a=1"], timeout_s=LIMIT_S)


def test_what_never_went_down_boots_its_default_the_next_time(
    guest: Guest, boots: Boots, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = guest.run
    monkeypatch.setattr(guest, "run", lambda line, **options: asks("true" if "reboot" in line else line, **options))
    with pytest.raises(TimedOut, match=r"^m never went down"):
        guest.reboot(kernel_args=["a=1"], timeout_s=1)
    assert boots.once is None


@pytest.mark.parametrize("release", ["6.6.6", "../etc/passwd", "*", "-rf"])
def test_a_kernel_that_is_not_there_is_said_with_those_that_are(guest: Guest, release: str) -> None:
    before = guest.boot_id()
    with pytest.raises(UsageError, match=rf"cannot boot m with the kernel .*: it has {OLD}, {NEW} in /boot") as told:
        guest.reboot(kernel=release)
    assert "kernels.install" in told.value.hint
    assert guest.boot_id() == before


def test_a_name_that_leads_elsewhere_is_no_release_though_the_guest_has_it(guest: Guest) -> None:
    shutil.copy(place(guest) / f"vmlinuz-{NEW}", place(guest) / "vmlinuz-$(id)")
    with pytest.raises(UsageError, match="cannot boot m with the kernel"):
        guest.reboot(kernel="$(id)")


def test_what_a_guest_sends_is_bounded_and_nothing_is_booted_with_it(
    guest: Guest, boots: Boots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_boot, "FILE_LIMIT_BYTES", 1 << 16)
    (place(guest) / f"vmlinuz-{NEW}").write_bytes(b"x" * (1 << 17))
    with pytest.raises(UsageError, match=rf"cannot boot m with \S*/boot/vmlinuz-{NEW}: it has more than 0 MiB"):
        guest.reboot(kernel=NEW)
    (place(guest) / f"vmlinuz-{NEW}").write_bytes(b"")
    with pytest.raises(UsageError, match="it is empty"):
        guest.reboot(kernel=NEW)
    assert boots.once is None


def test_an_initrd_that_cannot_be_made_is_told(guest: Guest) -> None:
    shutil.copy(place(guest) / f"vmlinuz-{NEW}", place(guest) / "vmlinuz-6.6.6-broken")
    with pytest.raises(CommandFailed) as told:
        guest.reboot(kernel="6.6.6-broken")
    assert "no modules" in told.value.details


def test_a_host_that_cannot_keep_it_is_told(guest: Guest, boots: Boots, tmp_path: Path) -> None:
    (tmp_path / "kernel-1").touch()
    with pytest.raises(HostError, match=r"cannot make .*kernel-1: File exists"):
        guest.reboot(kernel=NEW)
    new = boots.rooms.new
    boots.rooms.new = lambda: make_full(new())  # type: ignore[method-assign]
    with pytest.raises(HostError, match=rf"cannot keep the kernel {re.escape(NEW)} in .*kernel-2: File exists"):
        guest.reboot(kernel=NEW)


def make_full(room: Path) -> Path:
    (room / "initrd").touch()
    return room


def test_an_initrd_that_a_hook_has_made_is_taken(guest: Guest, tmp_path: Path) -> None:
    (place(guest).parent / "usr/sbin/mktirfs").unlink()
    (place(guest) / f"initrd.img-{NEW}").write_bytes(BYTES)
    guest.reboot(kernel=NEW, timeout_s=LIMIT_S)
    assert (tmp_path / "kernel-1/initrd").read_bytes() == BYTES
