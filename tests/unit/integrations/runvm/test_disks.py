"""Disks that callers ask for in words of IDE, for a machine that has none."""

from __future__ import annotations

import pytest

from vmtasks.integrations.runvm.disks import lean_disks


@pytest.mark.parametrize(
    ("words", "lean"),
    [
        ("-hdb d.qcow2", "-drive if=virtio,file=d.qcow2"),
        ("--hdd d,e.img", "-drive if=virtio,file=d,,e.img"),
        ("-cdrom my.iso", "-drive if=virtio,file=my.iso,format=raw,readonly=on"),
        ("-drive file=D,if=ide,index=1", "-drive file=D,if=virtio,index=1"),
        ("-drive if=ide,file=D", "-drive if=virtio,file=D"),
        ("-drive file=D", "-drive file=D,if=virtio"),
        ("-drive file=D,if=none,id=x", "-drive file=D,if=none,id=x"),
        ("-device usb-ehci -snapshot", "-device usb-ehci -snapshot"),
        ("-hdb", "-hdb"),
        ("-hda mine.qcow2", "-hda mine.qcow2"),
    ],
)
def test_ide_becomes_virtio_and_all_else_stays(words: str, lean: str) -> None:
    assert lean_disks(tuple(words.split())) == tuple(lean.split())
