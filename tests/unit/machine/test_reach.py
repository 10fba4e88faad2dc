"""Which files a machine's QEMU reaches, by what it starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vmtasks.cache.snapshot import Snapshot
from vmtasks.config.settings import HostSettings
from vmtasks.host.accelerator import Choice
from vmtasks.image.baked import BakedImage
from vmtasks.machine.launch import BootSource, LaunchConfig, PersistentDisk, launch_form
from vmtasks.machine.reach import reach_of, reach_of_arguments
from vmtasks.process.landlock import Reach
from vmtasks.spec import Access, DirectKernel, Machine

IMAGE = Path("/cache/images/bookworm")
DIRECTORY = Path("/cache/machines/one")
BAKED = BakedImage(directory=IMAGE, manifest={"kernel": True})
TEMPLATE = Snapshot(
    directory=Path("/cache/snapshots/template"),
    metadata={"kind": "template", "name": "bookworm", "stands_on": [str(BAKED.in_use)]},
)
MACHINE = Machine(
    name="one",
    disk=BAKED.disk,
    boot=DirectKernel(kernel=IMAGE / "vmlinuz", initrd=IMAGE / "initrd", command_line="root=/dev/vda"),
)
LAUNCH = LaunchConfig(
    image="bookworm",
    baked=BAKED,
    access=Access(),
    choice=Choice(accelerator="tcg", reason="a test"),
    settings=HostSettings(),
)
BOOT = {f"{IMAGE}/vmlinuz", f"{IMAGE}/initrd"}
COLD = BootSource()
CLONE = BootSource(snapshot=TEMPLATE)


def reach(machine: Machine = MACHINE, source: BootSource = COLD, launch: LaunchConfig = LAUNCH) -> Reach:
    return reach_of(machine, launch_form(machine, source, DIRECTORY), launch, source, DIRECTORY)


def beyond(found: Reach) -> set[str]:
    """Return what is written that is not in the machine's own directory."""
    assert str(DIRECTORY) in found.write
    return {path for path in found.write if not Path(path).is_relative_to(DIRECTORY)}


def test_a_cold_machine_reads_its_image_and_not_the_key_beside_it() -> None:
    found = reach()
    assert {*found.read} == BOOT | {f"{IMAGE}/disk.qcow2"}
    assert beyond(found) == set()


def test_a_machine_that_can_be_forked_has_its_memory_in_its_own_directory() -> None:
    assert beyond(reach(source=BootSource(forkable=True))) == set()


def test_a_clone_reads_each_disk_beneath_its_own() -> None:
    found = reach(source=CLONE)
    assert {*found.read} == BOOT | {f"{IMAGE}/disk.qcow2", "/cache/snapshots/template/disk.qcow2"}
    assert beyond(found) == {"/cache/snapshots/template/ram"}, "QEMU opens it for writing, and maps it privately"
    assert beyond(reach(source=replace(CLONE, forkable=True))) == set(), "it has a copy"


def test_a_machine_under_kvm_has_that_device() -> None:
    assert beyond(reach(replace(MACHINE, accelerator="kvm"))) == {"/dev/kvm"}


def test_a_seed_is_read() -> None:
    assert "/bake/seed.iso" in reach(replace(MACHINE, seed=Path("/bake/seed.iso"))).read


def test_a_disk_that_is_kept_is_written_where_it_is_and_what_is_beneath_it_is_read() -> None:
    persistent_disk = PersistentDisk(beneath=(Path("/images/base.qcow2"),))
    machine = replace(MACHINE, disk=Path("/images/work.qcow2"), ephemeral=False, hardware="pc", boot=None)
    found = reach(machine, launch=replace(LAUNCH, baked=None, persistent_disk=persistent_disk))
    assert {*found.read} == {"/images/base.qcow2"}
    assert beyond(found) == {"/images/work.qcow2"}


def test_a_file_that_is_to_be_made_beside_the_caller_and_devices_are_had(tmp_path: Path) -> None:
    for words in (("-serial", "file:serial.log"), ("-chardev", "file,id=x,path=out.log")):
        assert reach_of_arguments(words, str(tmp_path)) == Reach((), (str(tmp_path),))
    assert "/dev/vfio" in reach_of_arguments(("-device", "vfio-pci,host=01:00.0"), str(tmp_path)).write
