"""What the key of a saved machine depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.image.baked import BakedImage
from vmtasks.machine import checkpoint
from vmtasks.machine.checkpoint import fingerprint
from vmtasks.spec import Machine


@pytest.fixture
def baked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BakedImage:
    """Return an image, on a host that has a QEMU."""
    for name in ("disk.qcow2", "qemu-system-x86_64"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return BakedImage(directory=tmp_path, manifest={"kernel": True})


def test_a_machine_of_another_name_can_start_from_the_same_template(baked: BakedImage) -> None:
    one, other = (Machine(name=name, disk=baked.disk) for name in ("one", "other"))
    assert fingerprint(one, baked) == fingerprint(other, baked)
    assert fingerprint(one, baked) != fingerprint(Machine(name="one", disk=baked.disk, cpus=7), baked)


def test_a_template_in_which_the_transfer_disk_has_another_name_is_not_found(
    baked: BakedImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(name="one", disk=baked.disk)
    ours = fingerprint(machine, baked)
    monkeypatch.setattr(checkpoint, "TRANSFER_DISK_SERIAL", "vmtasks-exchange")  # as it was before 0.2
    assert fingerprint(machine, baked) != ours
