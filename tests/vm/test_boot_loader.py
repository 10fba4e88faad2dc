"""A real GRUB, on a disk with a partition: what it boots is what it was told to boot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks import CommandFailed, Guest, UsageError, boot, kernels
from vmtasks.errors import TestFailed as ProjectFailed


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with boot("bookworm-grub", log_dir=tmp_path_factory.mktemp("logs")) as guest:
        yield guest


def words(guest: Guest) -> list[str]:
    return guest.query("cat /proc/cmdline").split()


def test_it_boots_from_its_own_disk_and_lists_what_it_has(guest: Guest) -> None:
    release = guest.query("uname --kernel-release").strip()
    assert words(guest)[:2] == [f"BOOT_IMAGE=/boot/vmlinuz-{release}", "root=/dev/vda1"]
    loader = guest.boot_loader
    entries = {entry.id: entry for entry in loader.entries}
    assert loader.default.kernel == f"/boot/vmlinuz-{release}"
    assert loader.default.initrd == f"/boot/initrd.img-{release}"
    assert "console=ttyS0" in loader.default.args
    assert [name for name in entries if f">gnulinux-{release}-advanced-" in name]
    assert (loader.kind, len(entries)) == ("grub", 3)


def test_what_cannot_be_is_one_sentence(guest: Guest) -> None:
    loader = guest.boot_loader
    with pytest.raises(UsageError, match=r"has no entry '0'; there are: gnulinux-simple"):
        loader.set_default("0")
    with pytest.raises(UsageError, match="there is no such file"):
        loader.add_kernel("/boot/no-such", entry_id="mine")
    with pytest.raises(UsageError, match="cannot be the id"):
        loader.add_kernel(loader.default.kernel, entry_id="a b")
    with pytest.raises(UsageError, match="its package does"):
        loader.remove_kernel(loader.default.id)
    with pytest.raises(UsageError, match="grub-mkconfig writes that entry"):
        loader.add_args("a=1", entry_id=loader.default.id)
    guest.query("chattr +i /boot/grub/grubenv")
    try:
        with pytest.raises(CommandFailed, match="cannot have gnulinux-simple"):
            loader.boot_once(loader.default.id)
    finally:
        guest.query("chattr -i /boot/grub/grubenv")
    guest.query("printf 'exit 1\\n' >/etc/grub.d/43_broken; chmod 755 /etc/grub.d/43_broken")
    with pytest.raises(CommandFailed, match="GRUB's menu"):
        loader.add_args("never=1")
    guest.query("rm /etc/grub.d/43_broken")
    assert "never=1" not in loader.default.args
    assert not guest.glob("/etc/default/grub.d/zz-vmtasks.cfg"), "it was not there before"


def test_an_installed_kernel_is_booted_once_with_more_arguments_and_the_default_stays(guest: Guest) -> None:
    loader = guest.boot_loader
    usual = loader.default
    release = kernels.install(guest, "linux-image-cloud-amd64", args=["a=1"], once=True)
    guest.reboot()
    kernels.expect_running(guest, release, ["a=1", "console=ttyS0", "net.ifnames=0"])
    with pytest.raises(ProjectFailed, match="without b=1: it was booted with"):
        kernels.expect_running(guest, release, ["b=1"])
    assert loader.default.id == usual.id


def test_a_reboot_chooses_kernel_and_arguments_for_once_and_proves_them(guest: Guest) -> None:
    loader = guest.boot_loader
    usual, release = loader.default, guest.query("uname --kernel-release").strip()
    guest.reboot(kernel=release, kernel_args=["c=1"])
    assert {"c=1", "console=ttyS0"} <= set(words(guest))
    assert [word for word in words(guest) if word.startswith("vmtasks.boot=")]
    assert loader.default.id == usual.id
    assert "vmtasks-reboot" not in {entry.id for entry in loader.entries}
    guest.reboot()
    assert "c=1" not in words(guest)
    with pytest.raises(UsageError, match=r"cannot reboot .* with the kernel 0\.0\.1: its boot loader has"):
        guest.reboot(kernel="0.0.1")


def test_entries_of_ours_have_arguments_of_their_own(guest: Guest) -> None:
    loader = guest.boot_loader
    usual = loader.default
    mine = loader.add_kernel(usual.kernel, entry_id="mine", initrd=usual.initrd, title="It's mine", args=["a=1"])
    assert (mine.title, mine.kernel, mine.args) == ("It's mine", usual.kernel, ("root=/dev/vda1", "a=1"))
    loader.set_default("mine")
    loader.add_args("b=1")
    assert loader.default.args == ("root=/dev/vda1", "a=1", "b=1"), "what is for all kernels is for ours, too"
    assert "b=1" in loader.entry(usual.id).args
    loader.remove_kernel("mine")
    assert loader.default.id == usual.id, "the first is booted where the default is gone"


def test_a_guest_that_is_booted_directly_has_no_boot_loader(tmp_path: Path) -> None:
    with boot("bookworm", log_dir=tmp_path) as direct, pytest.raises(UsageError, match="has no boot loader"):
        _ = direct.boot_loader
