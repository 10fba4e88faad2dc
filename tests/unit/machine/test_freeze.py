"""A machine that is saved as it failed: what is written down, and from what a copy of it starts. QEMU is played."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vmtasks.cache import snapshot, snapshots
from vmtasks.cache.snapshot import Snapshot
from vmtasks.deadline import Deadline
from vmtasks.errors import HostError, UsageError
from vmtasks.guest.failure import failure_from
from vmtasks.image.baked import BakedImage
from vmtasks.machine import checkpoint
from vmtasks.machine.checkpoint import Checkpointer, fingerprint, machine_as_data
from vmtasks.providers.base import BootOptions
from vmtasks.providers.qemu import provider
from vmtasks.providers.qemu.provider import fork_of
from vmtasks.spec import Machine, Ram
from vmtasks.ssh.command import CommandSpec

FAILED = CommandSpec(command="make check", cwd="/build/parrot", user="builder", env={"V": "1"}, env_from=("TOKEN",))


class Supervisor:
    """Does what a supervisor does when it saves a machine, as far as files show it."""

    def qmp(self, _: str) -> list[dict[str, Any]]:
        return [{"device": "disk", "inserted": {"image": {"virtual-size": 1024}}}]

    def request(self, _: Deadline, *, link: list[Any], copy: list[Any], state: str, **__: object) -> float:
        for _written, lasting in link:
            Path(lasting).write_text("disk")
        Path(state).write_text("state")
        for source, target in copy:
            Path(source if source.endswith("overlay") else target).write_text("x")
        return 0.1


@pytest.fixture
def baked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BakedImage:
    """Return an image, on a host that has a QEMU."""
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    image = tmp_path / "image"
    image.mkdir()
    for path in (image / "disk.qcow2", image / "in-use", tmp_path / "qemu-system-x86_64"):
        path.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = BakedImage(directory=image, manifest={"kernel": False})
    monkeypatch.setattr(provider, "read_whole", lambda _: found)
    return found


Make = Callable[..., Checkpointer]


@pytest.fixture
def make(baked: BakedImage, tmp_path: Path) -> Iterator[Make]:
    def made(*, forkable: bool = True, lock_files: tuple[Path, ...] = ()) -> Checkpointer:
        machine = Machine(name="test", disk=baked.disk, memory_mib=512, cpus=3)
        form = replace(machine, disk=tmp_path / "m/disk.qcow2", ram=Ram(file=tmp_path / "m/ram", shared=forkable))
        client: Any = Supervisor()
        return Checkpointer(
            form,
            client,
            basis=partial(fingerprint, machine, baked),
            lock_files=lock_files or (baked.in_use,),
            about={"image": "bookworm", "baked": str(baked.directory), "machine": machine_as_data(machine)},
        )

    yield made
    while snapshot.private_snapshots:
        os.close(snapshot.private_snapshots.popitem()[1])


@pytest.fixture
def frozen(make: Make) -> Snapshot:
    return make().freeze(FAILED)


def test_it_outlives_the_run_and_knows_where_the_command_failed(frozen: Snapshot) -> None:
    assert (frozen.kind, frozen.name) == ("failure", "test")
    assert frozen.directory not in snapshot.private_snapshots
    assert snapshots.sweep() == ()
    found = snapshots.failure(frozen.directory.name)
    assert failure_from(found.metadata["failure"]) == FAILED
    assert found.directory.stat().st_mode & 0o077 == 0, "there may be secrets in its memory"


def test_each_failure_is_one_of_its_own(make: Make, frozen: Snapshot) -> None:
    assert make().freeze(None).metadata["key"] != frozen.metadata["key"]


def test_a_copy_is_the_machine_that_it_was(frozen: Snapshot, baked: BakedImage) -> None:
    machine, launch, source = fork_of(frozen, BootOptions(name="again"))
    assert (machine.name, machine.memory_mib, machine.cpus, machine.ram) == ("again", 512, 3, None)
    assert (launch.baked, source.kind, source.fallback) == (baked, "fork", None)


def test_a_copy_does_not_start_under_another_qemu(frozen: Snapshot, tmp_path: Path) -> None:
    (tmp_path / "qemu-system-x86_64").write_text("upgraded")
    with pytest.raises(HostError, match="cannot start test as it failed: its host has another QEMU"):
        fork_of(frozen, BootOptions())


def test_a_machine_that_was_not_to_be_frozen_says_what_to_do(make: Make) -> None:
    with pytest.raises(UsageError, match="cannot freeze test: it was not started to be frozen") as caught:
        make(forkable=False).freeze(FAILED)
    assert "--freeze" in caught.value.hint
    assert not snapshots.all_snapshots()


def test_none_is_saved_where_there_is_no_room_for_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_REOPEN_MIB", "0")
    with pytest.raises(HostError, match="cannot freeze test: there is no room for it") as caught:
        make().freeze(FAILED)
    assert "reopen_mib" in caught.value.hint
    assert not snapshots.all_snapshots()


def test_a_fork_of_a_checkpoint_of_the_runs_own_outlives_it(make: Make) -> None:
    checkpoint = make().checkpoint("the packages")
    fork = make(lock_files=checkpoint.lock_files).freeze(FAILED)
    assert not checkpoint.drop(), "the run is done with it, and what was frozen is not"
    found = snapshots.failure(fork.directory.name)
    assert fork_of(found, BootOptions())[2].kind == "fork"
    assert snapshots.sweep() == ()
    assert found.drop()
    assert snapshots.sweep() == (checkpoint.directory,)


def test_a_checkpoint_is_its_makers_as_ever(make: Make) -> None:
    one = make().checkpoint("half way")
    assert (one.kind, one.directory in snapshot.private_snapshots) == ("checkpoint", True)
    assert make().checkpoint("tools", "key").directory not in snapshot.private_snapshots
    assert checkpoint.key_of("basis") != checkpoint.key_of("basis", "key")


def test_a_machine_that_is_to_be_started_anew_on_its_disk_is_not_saved_any_more(make: Make, tmp_path: Path) -> None:
    saver = make()
    saver.checkpoint("before")
    disk = saver.pin()
    assert disk == tmp_path / "m/disk-1.qcow2", "what it writes to since it was saved"
    with pytest.raises(UsageError, match="cannot checkpoint test: what it boots was chosen in it"):
        saver.checkpoint("after")
    with pytest.raises(UsageError, match="what it boots was chosen in it"):
        saver.freeze(FAILED)
    assert saver.pin() == disk
