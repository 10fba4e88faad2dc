"""QEMU's command line as a pure function of a machine: one small function per concern.

Source: qemu-system-x86_64(1), QEMU's docs/system/arm/virt.rst and arm/cpu-features.rst; every option is one that
QEMU 7.2 has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from vmtasks.host.architectures import EMULATORS
from vmtasks.qemu.descriptors import CONSOLE_FD, QMP_FD
from vmtasks.qemu.migration import DISK
from vmtasks.spec import TRANSFER_DISK_SERIAL, Architecture, GroupCard, Machine

EMULATED_CPU = "max,-erms"
"""All that QEMU can emulate but ERMS, by which a kernel clears memory byte by byte: the emulator takes a step for each.
Without it copying takes less than half the time, and a reboot does not stand still where code lay in memory before."""
EMULATED_CPUS: Mapping[Architecture, str] = MappingProxyType(
    {"amd64": EMULATED_CPU, "i386": EMULATED_CPU, "arm64": "max,pauth-impdef=on"}
)
"""Those of arm64 sign the return addresses of functions. The cipher that the architecture names for it is dear to
emulate; ``impdef`` is one of QEMU's own, which takes a few steps."""
_MOST_CPUS_OF_GIC_2 = 8
SSH_PORT = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Wires:
    """Where QEMU's control line and serial console lead: character devices in QEMU's notation."""

    control: str = f"socket,fd={QMP_FD}"
    console: str = f"socket,fd={CONSOLE_FD}"


TRANSFER_DISK = "transfer"
"""The name that QEMU's command line gives to the drive that files travel on."""
_OVERLAY = ("qemu-img", "create", "-q", "-f", "qcow2")

BY_HAND = Wires(control="stdio", console="file,path=console.log")
"""For a command line that somebody pastes into a terminal."""


def qemu_argv(machine: Machine, *, disk: Path, wires: Wires = Wires()) -> tuple[str, ...]:
    """Return the whole command line.

    :param disk: the disk to write to: the overlay of a throw-away machine, or the machine's own disk.
    """
    return (
        EMULATORS[machine.architecture].program,
        *_board(machine),
        *_accelerator(machine),
        *_memory(machine),
        *_kernel(machine),
        *_disk(machine, disk),
        *_network(machine),
        *_entropy(),
        *_wires(wires),
        *machine.extra_args,
    )


def overlay_argv(disk: Path, disk_format: str, overlay: Path) -> tuple[str, ...]:
    """Return the command that lays a copy-on-write *overlay* over a disk that stays as it is."""
    return (*_OVERLAY, "-F", disk_format, "-b", str(disk), str(overlay))


def overlay_unseen_argv(base: Path, overlay: Path, size_bytes: int) -> tuple[str, ...]:
    """Return the command that lays an *overlay* over a qcow2 disk that is not there yet, or that QEMU writes to."""
    return (*_OVERLAY, "-u", "-F", "qcow2", "-b", str(base), str(overlay), str(size_bytes))


def _board(machine: Machine) -> Iterator[str]:
    yield from ("-name", f"guest={_quoted(machine.name)},debug-threads=on")
    if machine.hardware == "pc":
        yield from ("-no-user-config", "-display", "none", "-monitor", "none", "-parallel", "none")
        yield from ("-M", "pc")
    else:
        yield from ("-nodefaults", "-no-user-config", "-display", "none")
        backend = ",memory-backend=ram" if machine.ram else ""
        if machine.architecture == "arm64":
            # There is nothing on this board to leave out. Its usual interrupt controller serves eight processors.
            yield from ("-M", f"virt,gic-version={2 if machine.cpus <= _MOST_CPUS_OF_GIC_2 else 3}{backend}")
        else:
            # No keyboard, no SATA, no SMBus, no HPET: what is not there, the guest's kernel need not probe.
            yield from ("-M", f"q35,sata=off,smbus=off,i8042=off,usb=off,vmport=off,hpet=off{backend}")
            # A guest whose kernel knows the device learns by it that it is a copy, and draws its random numbers anew.
            yield from ("-device", "vmgenid,guid=auto")
    yield from ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")


def _accelerator(machine: Machine) -> Iterator[str]:
    kvm = machine.accelerator == "kvm"
    yield from ("-accel", "kvm" if kvm else "tcg,thread=multi")
    yield from ("-cpu", machine.cpu or ("host" if kvm else EMULATED_CPUS[machine.architecture]))
    yield from ("-smp", str(machine.cpus))


def _memory(machine: Machine) -> Iterator[str]:
    yield from ("-m", f"{machine.memory_mib}M")
    if machine.ram is not None:
        share = "on" if machine.ram.shared else "off"
        size = f"size={machine.memory_mib}M"
        path = _quoted(str(machine.ram.file))
        yield from ("-object", f"memory-backend-file,id=ram,{size},mem-path={path},share={share}")
    if machine.waits:
        yield from ("-incoming", "defer")


def _kernel(machine: Machine) -> Iterator[str]:
    if machine.boot is None:
        yield from ("-boot", "c")
        return
    yield from ("-kernel", str(machine.boot.kernel))
    yield from ("-initrd", str(machine.boot.initrd))
    yield from ("-append", machine.boot.command_line)


def _disk(machine: Machine, disk: Path) -> Iterator[str]:
    # A throw-away disk need not survive a power cut of the host: no flushes. Both kinds give freed blocks back.
    cache = "unsafe" if machine.ephemeral else "writeback"
    form = "qcow2" if machine.ephemeral else machine.disk_format
    bus = "ide,index=0" if machine.hardware == "pc" else "none"
    yield from ("-drive", f"if={bus},id={DISK},file={_quoted(str(disk))},format={form},cache={cache},discard=unmap")
    if machine.hardware == "lean":
        yield from ("-device", f"virtio-blk-pci,drive={DISK}")
    if machine.seed is not None:
        yield from ("-drive", f"if=none,id=seed,file={_quoted(str(machine.seed))},format=raw,readonly=on")
        yield from ("-device", "virtio-blk-pci,drive=seed")
    if machine.transfer_disk is not None:
        yield from (
            "-drive",
            f"if=none,id={TRANSFER_DISK},file={_quoted(str(machine.transfer_disk))},format=raw,cache=unsafe",
        )
        yield from ("-device", f"virtio-blk-pci,drive={TRANSFER_DISK},serial={TRANSFER_DISK_SERIAL}")


def _network(machine: Machine) -> Iterator[str]:
    # Port 0: the kernel picks a free one and QEMU is asked which, so there is nothing to guess and to collide with.
    restrict = "" if machine.network == "user" else ",restrict=on"
    network = f"user,id=net,hostfwd=tcp:127.0.0.1:{machine.ssh_port}-:{SSH_PORT}{restrict}"
    if machine.hardware == "pc":  # a card of the board's own is where PCs have it, and guests call it by its place
        yield from ("-nic", f"{network},model={machine.card}")
    else:
        yield from ("-netdev", network)
        yield from ("-device", f"{machine.card},netdev=net,romfile=")
    if machine.group_card is not None:
        yield from _group_card(machine.group_card)


def _group_card(card: GroupCard) -> Iterator[str]:
    """A card whose frames go to a switch: a stream of them, each behind its length (netdev stream of QEMU 7.2)."""
    socket = card.socket and f"stream,id=group,server=off,addr.type=unix,addr.path={_quoted(str(card.socket))}"
    yield from ("-netdev", socket or "hubport,id=group,hubid=0")  # a hub with nobody else takes every frame
    yield from ("-device", f"virtio-net-pci,netdev=group,romfile=,mac={card.mac}")


def _entropy() -> Iterator[str]:
    yield from ("-object", "rng-random,id=rng,filename=/dev/urandom")
    yield from ("-device", "virtio-rng-pci,rng=rng")


def _wires(wires: Wires) -> Iterator[str]:
    yield from ("-chardev", f"{_with_id(wires.control, 'control')}")
    yield from ("-mon", "chardev=control,mode=control")
    yield from ("-chardev", f"{_with_id(wires.console, 'console')}")
    yield from ("-serial", "chardev:console")


def _with_id(backend: str, name: str) -> str:
    kind, comma, options = backend.partition(",")
    return f"{kind},id={name}{comma}{options}"


def _quoted(value: str) -> str:
    """A comma in a value is doubled in QEMU's option syntax."""
    return value.replace(",", ",,")
