"""Save a machine that runs: as a template, for good; as a checkpoint to start others from; or as it failed."""

from __future__ import annotations

import itertools
import json
import os
import platform
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtasks import events
from vmtasks.cache import snapshots
from vmtasks.cache.snapshot import Kind, Snapshot
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError, UsageError
from vmtasks.files import typed_json
from vmtasks.host.architectures import EMULATORS
from vmtasks.host.local import LOCAL_HOST, Host
from vmtasks.image.baked import BakedImage
from vmtasks.qemu.argv import overlay_unseen_argv, qemu_argv
from vmtasks.qemu.migration import DISK
from vmtasks.spec import TRANSFER_DISK_SERIAL, DirectKernel, GroupCard, Machine
from vmtasks.supervisor.client import SupervisorClient

if TYPE_CHECKING:
    from vmtasks.ssh.command import CommandSpec

FORMAT = 6
"""Part of every key: raise it when machines are saved in another way."""
SAVE_LIMIT_S = 120.0


class Checkpointer:
    """Writes one running machine down, as often as it is asked to.

    :param machine: as it was started: its disk and its memory are those that QEMU has open.
    :param basis: returns what every saved state of it depends on, see :func:`fingerprint`.
    :param lock_files: the lock files of what its disk is laid over.
    :param about: what a later start needs to know, as JSON has it.
    :param place: the host that it runs on.
    """

    def __init__(
        self,
        machine: Machine,
        client: SupervisorClient,
        *,
        basis: Callable[[], str],
        lock_files: tuple[Path, ...],
        about: Mapping[str, object],
        place: Host = LOCAL_HOST,
    ) -> None:
        self.machine = machine
        self._basis = basis
        self._client = client
        self._place = place
        self._lock_files = lock_files
        self._about = about
        self._disk = machine.disk
        self._count = 0
        self._lock = threading.Lock()
        self._is_pinned = False
        """Whether its disk is to stay the one that it is: QEMU is to be started on it anew."""
        self._half_way = False
        """Whether QEMU writes over a saved disk that never came to its lasting place."""
        self.downtime_s = 0.0
        """How long the machine stood while it was last saved."""

    def checkpoint(self, name: str, key: str = "") -> Snapshot:
        """Save the machine, and let it go on.

        :param key: what it can be found by again, on such a machine (:func:`key_of`); nothing finds one without.
        :raise UsageError: it was not booted with ``forkable=True``.
        :raise HostError: the disk is full, or QEMU could not; the machine goes on all the same.
        """
        if not self._is_forkable:
            raise UsageError(
                f"cannot checkpoint {self.machine.name}: it was not booted with forkable=True",
            )
        key, is_kept = key_of(self._basis(), key or secrets.token_hex(16)), bool(key)
        return self._saved(key, "checkpoint", name, keep=is_kept)

    def freeze(self, failed: CommandSpec | None) -> Snapshot:
        """Save the machine as it failed, for `reopen`, and let it go on.

        :param failed: the command that failed; None: no single one is known.
        :raise UsageError: it was not booted with ``forkable=True``.
        :raise HostError: the disk is full or has no room for it, or QEMU could not; the machine goes on all the same.
        """
        from vmtasks.guest.failure import failure_as_data  # other hosts import this module, and have no guests

        name = self.machine.name
        if not self._is_forkable:
            raise UsageError(f"cannot freeze {name}: it was not started to be frozen", hint="--freeze does that")
        try:
            self._place.call(snapshots.expect_room_for_failures)
        except HostError as problem:
            raise HostError(f"cannot freeze {name}: {problem}", hint=problem.hint) from problem
        basis = self._basis()
        key = key_of(basis, secrets.token_hex(16))  # nobody looks for it by what went before: there is only this one
        return self._saved(key, "failure", name, basis=key_of(basis), failure=failure_as_data(failed))

    def pin(self) -> Path:
        """Return the disk that the machine writes to, and let it stay that: from now on, it is not saved any more.

        :raise HostError: it is not known which it is.
        """
        with self._lock:
            if self._half_way:
                raise HostError(
                    f"cannot start {self.machine.name} anew: the last time it was saved, that did not come to its end"
                )
            self._is_pinned = True
            return self._disk

    @property
    def _is_forkable(self) -> bool:
        return self.machine.ram is not None and self.machine.ram.shared

    def _saved(self, key: str, kind: Kind, name: str, **more: object) -> Snapshot:
        with self._lock:
            return self._saved_alone(key, kind, name, **more)

    def _saved_alone(self, key: str, kind: Kind, name: str, **more: object) -> Snapshot:
        if self.machine.ram is None:
            raise AssertionError("what is saved has its memory in a file")
        if self._is_pinned:
            raise UsageError(
                f"cannot checkpoint {self.machine.name}: what it boots was chosen in it, and no copy would boot that",
                hint="checkpoint it before kernels.install() and reboot(kernel=), or boot it with --kernel",
            )
        if self._half_way:
            raise HostError(f"cannot checkpoint {self.machine.name} again: the last time, that did not come to its end")
        metadata = {**more, **self._about}
        self._count += 1
        overlay = self._disk.with_name(f"disk-{self._count}.qcow2")
        ram = self.machine.ram.file
        create = self._place.enter(snapshots.create, key, kind, name, lock_files=self._lock_files, **metadata)
        try:
            with events.phase("checkpoint", machine=self.machine.name, detail=name), create as (into, final):
                self._save(
                    into,
                    final,
                    link=[(self._disk, into / "disk.qcow2")],
                    copy=[(into / "overlay", overlay), (ram, into / "ram")],
                    overlay=overlay,
                    hold=[into / "in-use"],
                )
                self._half_way = True
        except OSError as problem:
            raise HostError(f"cannot checkpoint {self.machine.name}: {problem.strerror or problem}") from problem
        self._half_way = False
        self._disk, self._lock_files = overlay, (final / "in-use", *self._lock_files)
        return self._place.call(snapshots.read, final)

    def template(self, into: Path, final: Path) -> None:
        """Save the machine into a directory, for good: it has nothing but its end before it.

        :param final: where the directory will be then.
        :raise HostError: the disk is full, or QEMU could not.
        """
        ram = self.machine.ram
        if ram is None:
            raise AssertionError("a template is made of a machine whose memory is a file")
        self._save(
            into,
            final,
            link=[(self._disk, into / "disk.qcow2"), (ram.file, into / "ram")],
            copy=[],
            overlay=None,
            hold=[],
        )

    def network(self) -> str:
        """Return what QEMU's user network reports of its connections."""
        return str(self._client.qmp("human-monitor-command", {"command-line": "info usernet"}))

    def _save(
        self,
        into: Path,
        final: Path,
        *,
        link: list[tuple[Path, Path]],
        copy: list[tuple[Path, Path]],
        overlay: Path | None,
        hold: list[Path],
    ) -> None:
        try:
            self.downtime_s = self._client.request(
                Deadline.after(SAVE_LIMIT_S),
                do="save",
                link=[[*map(str, pair)] for pair in link],
                copy=[[*map(str, pair)] for pair in copy],
                state=str(into / "state"),
                prepare=[overlay_unseen_argv(final / "disk.qcow2", into / "overlay", self._size_bytes())],
                overlay=str(overlay) if overlay else None,
                hold=[*map(str, hold)],
            )
        except BootError as problem:
            raise HostError(f"cannot checkpoint {self.machine.name}: {problem}") from problem

    def _size_bytes(self) -> int:
        (disk,) = (one for one in self._client.qmp("query-block") if one["device"] == DISK)
        return int(disk["inserted"]["image"]["virtual-size"])


def fingerprint(machine: Machine, baked: BakedImage) -> str:
    """Return all that a saved state of such a machine depends on, whatever has been done in it."""
    nameless = replace(machine, name="", disk=Path("disk.qcow2"), group_card=_unplugged(machine))
    disk = baked.disk.stat()  # one that was written to since is another
    program = EMULATORS[machine.architecture].program
    qemu = Path(shutil.which(program) or program)
    status = qemu.stat()  # another version is another file: asking QEMU itself takes as long as a clone
    parts = [
        FORMAT, TRANSFER_DISK_SERIAL, baked.serial, disk.st_size, disk.st_mtime_ns,
        qemu_argv(nameless, disk=nameless.disk), os.fspath(qemu.resolve()), status.st_size, status.st_mtime_ns,
        _seen_under_kvm() if machine.accelerator == "kvm" else "",
    ]  # fmt: skip
    return json.dumps(parts)


def key_of(basis: str, *more: str) -> str:
    """Return the key of a saved machine of that *basis*; *more* describes what it has behind it."""
    return snapshots.key_for(json.dumps([basis, *more]))


def _seen_under_kvm() -> str:
    """Return what decides which processor a guest sees under KVM: this host's, and what its kernel lets through.

    A saved guest has settled on the features that it found, and a state does not bring them along.
    """
    telling = ("model name", "stepping", "microcode", "flags")
    with Path("/proc/cpuinfo").open() as processors:
        first = itertools.takewhile(str.strip, processors)  # the others are alike, and there may be many
        words = [
            platform.machine(),
            platform.release(),
            *(line.rstrip("\n") for line in first if line.startswith(telling)),
        ]
    return "\n".join(words)


def machine_as_data(machine: Machine) -> dict[str, Any]:
    """Return what :func:`machine_from` reads, as JSON has it."""
    fields = asdict(replace(machine, group_card=_unplugged(machine)))
    kept = {name: fields[name] for name in fields if name not in ("ram", "waits", "seed", "ephemeral", "transfer_disk")}
    return dict(json.loads(json.dumps(kept, default=os.fspath)))


_MACHINE = {
    "name": str, "disk": str, "disk_format?": str, "architecture?": set(EMULATORS), "memory_mib?": int, "cpus?": int,
    "accelerator?": {"kvm", "tcg"}, "hardware?": str, "cpu?": str, "card?": str, "ssh_port?": int, "network?": str,
    "boot": ({"kernel": str, "initrd": str, "command_line": str}, None), "extra_args": [str],
    "group_card?": ({"mac": str}, None),
}  # fmt: skip


def machine_from(data: Mapping[str, Any]) -> Machine:
    """Return the machine that was written down, as it is before it starts.

    :raise HostError: what was written down is damaged.
    """
    if not typed_json.fits(data, _MACHINE):
        raise HostError("cannot start from a checkpoint: what is written down of its machine is damaged")
    boot = data["boot"]
    kernel = boot and DirectKernel(
        kernel=Path(boot["kernel"]), initrd=Path(boot["initrd"]), command_line=boot["command_line"]
    )
    card = GroupCard() if data.get("group_card") else None
    given = {"disk": Path(data["disk"]), "boot": kernel, "extra_args": tuple(data["extra_args"]), "group_card": card}
    return Machine(**{**data, **given})


def _unplugged(machine: Machine) -> GroupCard | None:
    """Return a machine's card of a group as what is saved has it: a machine that has none stays as it is."""
    return GroupCard() if machine.group_card else None
