"""Freeze a machine that runs: for good, as a template, or in passing, as a checkpoint to start others from."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vmtasks import events, frozen
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError, UsageError
from vmtasks.freeze import DISK
from vmtasks.frozen import Frozen
from vmtasks.leash import Leash
from vmtasks.qemu.argv import overlay_unseen_argv
from vmtasks.spec import DirectKernel, Machine

FREEZE_LIMIT_S = 120.0


class Freezer:
    """Writes one running machine down, as often as it is asked to.

    :param machine: as it was started: its disk and its memory are those that QEMU has open.
    :param stands_on: the lock files of what its disk is laid over.
    :param about: what a later start needs to know, as JSON has it.
    """

    def __init__(
        self, machine: Machine, leash: Leash, *, stands_on: tuple[Path, ...], about: Mapping[str, object]
    ) -> None:
        self._machine = machine
        self._leash = leash
        self._stands_on = stands_on
        self._about = about
        self._disk = machine.disk
        self._count = 0

    def checkpoint(self, name: str, key: str = "") -> Frozen:
        """Freeze the machine, and let it go on.

        :param key: what it can be found by again; nothing finds one without.
        :raise UsageError: its memory is no file of its own.
        :raise HostError: the disk is full, or QEMU could not; the machine goes on all the same.
        """
        if self._machine.ram is None or not self._machine.ram.shared:
            raise UsageError(
                f"cannot freeze {self._machine.name}: its memory is not a file of its own",
                hint="boot it with forkable=True",
            )
        key = frozen.key_for(key) if key else secrets.token_hex(8)
        self._count += 1
        overlay = self._disk.with_name(f"disk-{self._count}.qcow2")
        with (
            events.phase("checkpoint", machine=self._machine.name, detail=name),
            frozen.making(key, "checkpoint", name, stands_on=self._stands_on, **self._about) as (into, final),
        ):
            self._freeze(
                link=[(self._disk, into / "disk.qcow2")],
                copy=[(self._machine.ram.file, into / "ram")],
                state=into / "state",
                prepare=[overlay_unseen_argv(final / "disk.qcow2", overlay, self._size_bytes())],
                overlay=overlay,
            )
        made = frozen.read(final)
        self._disk, self._stands_on = overlay, made.holds
        return made

    def template(self, into: Path) -> None:
        """Freeze the machine into a directory, for good: it has nothing but its end before it.

        :raise HostError: the disk is full, or QEMU could not.
        """
        ram = self._machine.ram
        if ram is None:
            raise AssertionError("a template is made of a machine whose memory is a file")
        self._freeze(
            link=[(self._disk, into / "disk.qcow2"), (ram.file, into / "ram")],
            copy=[],
            state=into / "state",
            prepare=[],
            overlay=None,
        )

    def network(self) -> str:
        """Return what QEMU's user network says of its connections."""
        return str(self._leash.qmp("human-monitor-command", {"command-line": "info usernet"}))

    def _freeze(
        self,
        *,
        link: list[tuple[Path, Path]],
        copy: list[tuple[Path, Path]],
        state: Path,
        prepare: list[tuple[str, ...]],
        overlay: Path | None,
    ) -> None:
        try:
            self._leash.request(
                Deadline.after(FREEZE_LIMIT_S),
                do="freeze",
                link=[[*map(str, pair)] for pair in link],
                copy=[[*map(str, pair)] for pair in copy],
                state=str(state),
                prepare=prepare,
                overlay=str(overlay) if overlay else None,
            )
        except BootError as problem:
            raise HostError(f"cannot freeze {self._machine.name}: {problem}") from problem

    def _size_bytes(self) -> int:
        (disk,) = (one for one in self._leash.qmp("query-block") if one["device"] == DISK)
        return int(disk["inserted"]["image"]["virtual-size"])


def machine_as_data(machine: Machine) -> dict[str, Any]:
    """Return what :func:`machine_from` reads, as JSON has it."""
    said = asdict(machine)
    kept = {name: said[name] for name in said if name not in ("ram", "waits", "seed", "throw_away")}
    return dict(json.loads(json.dumps(kept, default=os.fspath)))


def machine_from(said: Mapping[str, Any]) -> Machine:
    """Return the machine that was written down, as it is before it starts."""
    boot = said["boot"]
    kernel = boot and DirectKernel(
        kernel=Path(boot["kernel"]), initrd=Path(boot["initrd"]), command_line=boot["command_line"]
    )
    return Machine(**{**said, "disk": Path(said["disk"]), "boot": kernel, "extra": tuple(said["extra"])})
