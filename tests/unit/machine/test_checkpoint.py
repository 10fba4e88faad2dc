"""What the key of a saved machine depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import HostError
from vmtasks.image.baked import BakedImage
from vmtasks.machine import checkpoint
from vmtasks.machine.checkpoint import fingerprint, machine_as_data, machine_from
from vmtasks.spec import Machine


@pytest.fixture
def baked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BakedImage:
    """Return an image, on a host that has a QEMU."""
    for name in ("disk.qcow2", "qemu-system-x86_64", "qemu-system-aarch64"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return BakedImage(directory=tmp_path, manifest={"kernel": True})


def test_a_machine_of_another_name_can_start_from_the_same_template(baked: BakedImage) -> None:
    one, other = (Machine(name=name, disk=baked.disk) for name in ("one", "other"))
    assert fingerprint(one, baked) == fingerprint(other, baked)
    assert fingerprint(one, baked) != fingerprint(Machine(name="one", disk=baked.disk, cpus=7), baked)


def test_a_state_depends_on_the_qemu_of_its_architecture(baked: BakedImage, tmp_path: Path) -> None:
    one, other = (Machine(name="one", disk=baked.disk, architecture=name) for name in ("amd64", "arm64"))
    before = [fingerprint(machine, baked) for machine in (one, other)]
    (tmp_path / "qemu-system-aarch64").write_text("another version\n")
    assert fingerprint(one, baked) == before[0]
    assert fingerprint(other, baked) != before[1]


def test_what_is_written_down_is_of_a_known_architecture(baked: BakedImage) -> None:
    machine = Machine(name="one", disk=baked.disk, architecture="arm64")
    data = machine_as_data(machine)
    assert machine_from(data) == machine
    with pytest.raises(HostError, match="is damaged"):
        machine_from(data | {"architecture": "arm65"})


def test_a_template_in_which_the_transfer_disk_has_another_name_is_not_found(
    baked: BakedImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(name="one", disk=baked.disk)
    ours = fingerprint(machine, baked)
    monkeypatch.setattr(checkpoint, "TRANSFER_DISK_SERIAL", "vmtasks-exchange")  # as it was before 0.2
    assert fingerprint(machine, baked) != ours
