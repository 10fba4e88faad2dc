"""Kernels of a machine's own, booted directly: QEMU is started anew with what is installed in the guest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks import Guest, UsageError, boot, kernels


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with boot("bookworm", name="direct", memory_mib=1024, log_dir=tmp_path_factory.mktemp("logs")) as guest:
        yield guest


def words(guest: Guest) -> list[str]:
    return guest.query("cat /proc/cmdline").split()


def test_arguments_are_there_for_one_boot_and_all_else_is_as_it_was(guest: Guest) -> None:
    usual, port = words(guest), guest.ssh_command
    guest.query("echo kept >/srv/kept; sync")
    guest.reboot(kernel_args=["a=1"])
    assert words(guest)[:-1] == [*usual, "a=1"]
    assert words(guest)[-1].startswith("vmtasks.boot=")
    assert guest.query("cat /srv/kept") == "kept\n"
    assert guest.ssh_command == port
    guest.reboot()
    assert words(guest) == usual
    guest.reboot()
    assert words(guest) == usual


def test_the_images_own_kernel_is_booted_by_its_release(guest: Guest) -> None:
    release = guest.query("uname --kernel-release").strip()
    guest.reboot(kernel=release, kernel_args=["b=1"])
    kernels.expect_running(guest, release, ["b=1"])
    with pytest.raises(UsageError, match=r"cannot boot direct with the kernel 0\.0\.1: it has"):
        guest.reboot(kernel="0.0.1")


def test_a_package_that_is_installed_is_booted_from_then_on(guest: Guest) -> None:
    before = guest.query("uname --kernel-release").strip()
    release = kernels.install(guest, "linux-image-amd64", args=["c=1"])
    assert release != before
    guest.reboot()
    kernels.expect_running(guest, release, ["c=1"])
    guest.hard_reset()
    kernels.expect_running(guest, release, ["c=1"])
    guest.put(Path(__file__), "/srv/sent.py")
    assert guest.query("wc -c </srv/sent.py").strip() == str(Path(__file__).stat().st_size)
    guest.reboot(kernel=before)
    kernels.expect_running(guest, before)
    guest.reboot()
    kernels.expect_running(guest, release, ["c=1"])


def test_what_was_told_what_to_boot_is_not_saved(tmp_path: Path) -> None:
    with boot("bookworm", name="forkable", forkable=True, log_dir=tmp_path) as guest:
        guest.checkpoint("before")
        guest.query("echo after >/srv/after; sync")
        guest.reboot(kernel_args=["a=1"])
        assert guest.query("cat /srv/after") == "after\n", "it goes on on the disk that it wrote to since"
        with pytest.raises(UsageError, match="what it boots was chosen in it"):
            guest.checkpoint("after")
