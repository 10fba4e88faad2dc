"""QEMU's command line: the whole of one machine, and each concern by itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from vmtasks.qemu.argv import BY_HAND, overlay_argv, qemu_argv
from vmtasks.spec import DirectKernel, GroupCard, Machine, Network, Ram

OVERLAY = Path("/run/m/disk.qcow2")
MACHINE = Machine(
    name="bookworm",
    disk=Path("/cache/bookworm/disk.qcow2"),
    boot=DirectKernel(
        kernel=Path("/cache/bookworm/vmlinuz"),
        initrd=Path("/cache/bookworm/initrd"),
        command_line="root=/dev/vda rw console=ttyS0",
    ),
)


def values(argv: tuple[str, ...], option: str) -> list[str]:
    """Return what follows each *option*."""
    return [value for name, value in pairwise(argv) if name == option]


def value(argv: tuple[str, ...], option: str) -> str:
    (only,) = values(argv, option)
    return only


def test_the_whole_command_line_of_a_usual_machine() -> None:
    expected = """
        qemu-system-x86_64
        -name guest=bookworm,debug-threads=on
        -nodefaults -no-user-config
        -display none
        -M q35,sata=off,smbus=off,i8042=off,usb=off,vmport=off,hpet=off
        -device vmgenid,guid=auto
        -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
        -accel tcg,thread=multi -cpu max,-erms
        -smp 2
        -m 1024M
        -kernel /cache/bookworm/vmlinuz
        -initrd /cache/bookworm/initrd
        -append root=/dev/vda~rw~console=ttyS0
        -drive if=none,id=disk,file=/run/m/disk.qcow2,format=qcow2,cache=unsafe,discard=unmap
        -device virtio-blk-pci,drive=disk
        -netdev user,id=net,hostfwd=tcp:127.0.0.1:0-:22
        -device virtio-net-pci,netdev=net,romfile=
        -object rng-random,id=rng,filename=/dev/urandom
        -device virtio-rng-pci,rng=rng
        -chardev socket,id=control,fd=100
        -mon chardev=control,mode=control
        -chardev socket,id=console,fd=101
        -serial chardev:console
    """
    argv = qemu_argv(MACHINE, disk=OVERLAY)
    assert [word.replace(" ", "~") for word in argv] == expected.split()


def test_it_is_a_pure_function() -> None:
    assert qemu_argv(MACHINE, disk=OVERLAY) == qemu_argv(replace(MACHINE), disk=OVERLAY)


def test_kvm_uses_the_hosts_processor() -> None:
    argv = qemu_argv(replace(MACHINE, accelerator="kvm"), disk=OVERLAY)
    assert value(argv, "-accel") == "kvm"
    assert value(argv, "-cpu") == "host"


def test_memory_and_processors() -> None:
    argv = qemu_argv(replace(MACHINE, memory_mib=2048, cpus=4), disk=OVERLAY)
    assert value(argv, "-m") == "2048M"
    assert value(argv, "-smp") == "4"


@pytest.mark.parametrize(("network", "is_restricted"), [("user", False), ("restricted", True), ("none", True)])
def test_a_restricted_network_keeps_the_forwarded_port(network: Network, is_restricted: bool) -> None:
    netdev = value(qemu_argv(replace(MACHINE, network=network), disk=OVERLAY), "-netdev")
    assert "hostfwd=tcp:127.0.0.1:0-:22" in netdev.split(",")
    assert ("restrict=on" in netdev.split(",")) == is_restricted


def test_a_kept_disk_is_written_with_flushes_and_in_its_own_format() -> None:
    machine = replace(MACHINE, ephemeral=False, disk_format="raw", disk=Path("/srv/disk.raw"))
    drive = value(qemu_argv(machine, disk=machine.disk), "-drive").split(",")
    assert {"file=/srv/disk.raw", "format=raw", "cache=writeback"} <= set(drive)


def test_an_overlay_is_qcow2_whatever_lies_below() -> None:
    drive = value(qemu_argv(replace(MACHINE, disk_format="raw"), disk=OVERLAY), "-drive").split(",")
    assert {"format=qcow2", "cache=unsafe"} <= set(drive)


def test_a_seed_is_a_second_disk_that_nobody_writes_to() -> None:
    argv = qemu_argv(replace(MACHINE, seed=Path("/run/m/seed.iso")), disk=OVERLAY)
    _, seed = values(argv, "-drive")
    assert {"file=/run/m/seed.iso", "format=raw", "readonly=on"} <= set(seed.split(","))
    assert "virtio-blk-pci,drive=seed" in values(argv, "-device")


def test_commas_in_values_are_doubled() -> None:
    machine = replace(MACHINE, name="a,b", seed=Path("/x,y/seed.iso"))
    argv = qemu_argv(machine, disk=Path("/x,y/disk.qcow2"))
    disk, seed = values(argv, "-drive")
    assert "file=/x,,y/disk.qcow2," in disk
    assert "file=/x,,y/seed.iso," in seed
    assert value(argv, "-name").startswith("guest=a,,b,")


def test_without_a_kernel_it_boots_from_the_disk() -> None:
    argv = qemu_argv(replace(MACHINE, boot=None), disk=OVERLAY)
    assert value(argv, "-boot") == "c"
    assert not {"-kernel", "-initrd", "-append"} & set(argv)


def test_by_hand_it_needs_no_inherited_descriptors() -> None:
    argv = qemu_argv(MACHINE, disk=OVERLAY, wires=BY_HAND)
    assert values(argv, "-chardev") == ["stdio,id=control", "file,id=console,path=console.log"]
    assert not any("fd=" in word for word in argv)


def test_extra_arguments_come_last_and_as_they_are() -> None:
    extra = ("-device", "x,y=z")
    assert qemu_argv(replace(MACHINE, extra_args=extra), disk=OVERLAY)[-2:] == extra


def test_an_overlay_names_its_base_and_the_bases_format() -> None:
    argv = overlay_argv(Path("/a,b/disk.raw"), "raw", OVERLAY)
    assert argv[:2] == ("qemu-img", "create")
    assert value(argv, "-f") == "qcow2"
    assert value(argv, "-F") == "raw"
    assert value(argv, "-b") == "/a,b/disk.raw"  # qemu-img takes it as it is
    assert argv[-1] == str(OVERLAY)


def test_memory_that_is_a_file() -> None:
    argv = qemu_argv(replace(MACHINE, ram=Ram(file=Path("/a,b/ram"), shared=False), waits=True), disk=OVERLAY)
    assert values(argv, "-object")[0] == "memory-backend-file,id=ram,size=1024M,mem-path=/a,,b/ram,share=off"
    assert value(argv, "-M").endswith(",memory-backend=ram")
    assert value(argv, "-incoming") == "defer"
    argv = qemu_argv(replace(MACHINE, ram=Ram(file=Path("/ram"), shared=True)), disk=OVERLAY)
    assert values(argv, "-object")[0].endswith(",share=on")
    assert "-incoming" not in argv


ARM64 = replace(
    MACHINE,
    architecture="arm64",
    boot=DirectKernel(kernel=Path("/vmlinuz"), initrd=Path("/initrd"), command_line="root=/dev/vda console=ttyAMA0"),
)


def test_a_machine_for_arm64_differs_in_its_program_its_board_and_its_processor() -> None:
    ours, theirs = qemu_argv(replace(ARM64, boot=MACHINE.boot), disk=OVERLAY), qemu_argv(MACHINE, disk=OVERLAY)
    assert [word for word in ours if word not in theirs] == [
        "qemu-system-aarch64",
        "virt,gic-version=2",
        "max,pauth-impdef=on",
    ]
    # An amd64 guest has one device more, which QEMU 7.2 has for no other board.
    assert set(values(theirs, "-device")) - set(values(ours, "-device")) == {"vmgenid,guid=auto"}


def test_the_usual_interrupt_controller_of_arm64_has_no_ninth_processor() -> None:
    boards = [value(qemu_argv(replace(ARM64, cpus=cpus), disk=OVERLAY), "-M") for cpus in (8, 9)]
    assert boards == ["virt,gic-version=2", "virt,gic-version=3"]


def test_the_memory_and_the_cards_of_a_machine_for_arm64_are_those_of_any() -> None:
    machine = replace(ARM64, ram=Ram(file=Path("/ram"), shared=True), group_card=GroupCard())
    argv = qemu_argv(machine, disk=OVERLAY)
    assert value(argv, "-M").endswith(",memory-backend=ram")
    assert "virtio-net-pci,netdev=group,romfile=,mac=56:6d:74:00:00:00" in values(argv, "-device")


def test_an_asked_for_processor_goes_before_ours() -> None:
    assert value(qemu_argv(replace(ARM64, cpu="cortex-a72"), disk=OVERLAY), "-cpu") == "cortex-a72"
