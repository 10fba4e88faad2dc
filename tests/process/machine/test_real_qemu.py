"""The real QEMU in its confinement, with nothing to boot: what a machine and its checkpoints need works, no more."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tests.process.supervised import Supervisor
from vmtasks.host.accelerator import BOOT_SECTOR, countdown_s
from vmtasks.host.architectures import EMULATORS
from vmtasks.host.confined import qemu_img
from vmtasks.process.landlock import Reach, abi
from vmtasks.qemu.argv import overlay_argv, overlay_unseen_argv, qemu_argv
from vmtasks.spec import TRANSFER_DISK_BYTES, Architecture, Machine, Ram
from vmtasks.supervisor.plan import BlankFile, Plan

SIZE_BYTES = 1 << 20


@pytest.fixture
def base(tmp_path: Path) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "base.qcow2", str(SIZE_BYTES)], check=True)
    return tmp_path / "base.qcow2"


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_a_machine_has_its_disk_its_memory_and_the_next_disk(
    supervise: Callable[..., Supervisor],
    plan: Callable[..., Plan],
    base: Path,
    tmp_path: Path,
    architecture: Architecture,
) -> None:
    program = EMULATORS[architecture].program
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    own = Path(plan().directory)
    machine = Machine(
        name="one", disk=own / "disk.qcow2", architecture=architecture, memory_mib=64,
        ram=Ram(file=own / "ram", shared=True), transfer_disk=own / "transfer",
    )  # fmt: skip
    one = supervise(
        plan(
            argv=(*qemu_argv(machine, disk=machine.disk), "-S"),
            prepare=(overlay_argv(base, "qcow2", machine.disk),),
            blank=(BlankFile(str(own / "transfer"), TRANSFER_DISK_BYTES),),
            reach=Reach((str(base),), (str(own),)),
        )
    )
    one.starts()
    assert (own / "ram").stat().st_size == 64 << 20
    subprocess.run(overlay_unseen_argv(machine.disk, own / "disk-1.qcow2", SIZE_BYTES), check=True)
    there = {"device": "disk", "format": "qcow2"}
    one.asks("blockdev-snapshot-sync", **there, **{"snapshot-file": str(own / "disk-1.qcow2"), "mode": "existing"})
    assert one.hears("answer")["result"] == {}
    if abi():
        one.asks("blockdev-snapshot-sync", **there, **{"snapshot-file": str(tmp_path / "outside.qcow2")})
        assert "Permission denied" in one.hears("answer")["error"]
        assert not (tmp_path / "outside.qcow2").exists()
    one.close()
    assert one.hears("exited")["status"] == 0


def test_a_machine_without_its_image_says_so(
    supervise: Callable[..., Supervisor], plan: Callable[..., Plan], base: Path
) -> None:
    if not abi():
        pytest.skip("this kernel has no Landlock")
    machine = Machine(name="one", disk=base, ephemeral=False, memory_mib=64)
    ours = plan()
    one = supervise(ours._replace(argv=qemu_argv(machine, disk=base), reach=Reach(write=(ours.directory,))))
    one.prepares()
    assert "Permission denied" in one.hears("exited")["qemu"]


def test_a_trial_counts_down(tmp_path: Path) -> None:
    (tmp_path / "sector").write_bytes(BOOT_SECTOR)
    assert countdown_s("tcg", tmp_path / "sector", 60.0) is not None


def test_qemu_img_reads_no_image_that_it_was_not_given(base: Path) -> None:
    assert qemu_img("info", str(base), reach=Reach((str(base),))).returncode == 0
    if abi():
        assert "Permission denied" in qemu_img("info", str(base), reach=Reach()).stderr
