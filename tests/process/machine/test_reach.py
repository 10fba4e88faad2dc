"""What a caller's own arguments for QEMU name, with real files and the real qemu-img."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vmtasks.machine.reach import reach_of_arguments


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("disk.raw", "a,b.raw", "bios.bin"):
        (tmp_path / name).write_bytes(bytes(512))
    (tmp_path / "shared").mkdir()
    (tmp_path / "logs").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("disk.raw", "disk.raw"),
        ("file=disk.raw,format=raw,if=virtio", "disk.raw"),
        ("{home}/disk.raw", "disk.raw"),
        ("file={home}/a,,b.raw,format=raw", "a,b.raw"),
        ("if=none,file.filename={home}/disk.raw", "disk.raw"),
        ('{{"driver": "raw", "file": {{"filename": "{home}/disk.raw"}}}}', "disk.raw"),
        ("fat:rw:{home}/shared", "shared"),
        ("local,path=shared,mount_tag=host", "shared"),
        ("unix:{home}/logs/monitor,server=on", "logs"),
        ("file:logs/serial.log", "logs"),
    ],
)
def test_what_an_argument_names_is_reached(home: Path, word: str, named: str) -> None:
    found = reach_of_arguments(("-option", word.format(home=home)), str(home))
    assert (found.read, found.write) == ((), (str(home / named),))


@pytest.mark.parametrize(
    "words",
    [
        ("-append", "root=/dev/vda console=ttyS0 init=/sbin/init"),
        ("-device", "virtio-rng-pci,rng=rng"),
        ("-drive", "file=/dev/not-there"),
        ("-drive", "file=/not-there"),
        ("-L", "/usr/share/qemu"),
        ("-drive", "file=/etc/new.raw"),
        ("-drive", "file=http://there.example/disk.raw"),
        ("-smbios", "type=1,serial=" + "x" * 5000),
        ("-name", "/"),
    ],
)
def test_what_names_no_file_opens_none(home: Path, words: tuple[str, ...]) -> None:
    found = reach_of_arguments(words, str(home / "logs"))
    assert (found.read, found.write) == ((), ())


def test_what_a_named_image_is_laid_over_is_read(home: Path) -> None:
    layer = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "disk.raw", "layer.qcow2"]
    subprocess.run(layer, cwd=home, check=True)
    found = reach_of_arguments(("-drive", "file=layer.qcow2"), str(home))
    assert [Path(one).resolve() for one in found.read] == [home / "disk.raw"]
    assert found.write == (str(home / "layer.qcow2"),)


@pytest.mark.parametrize(
    ("word", "devices"),
    [
        ("tap,id=net,ifname=tap0,script=no", ("/dev/net/tun",)),
        ("pty", ("/dev/ptmx", "/dev/pts")),
        ("user,id=net", ()),
    ],
)
def test_devices_without_a_name(home: Path, word: str, devices: tuple[str, ...]) -> None:
    assert reach_of_arguments(("-netdev", word), str(home)).write == devices
