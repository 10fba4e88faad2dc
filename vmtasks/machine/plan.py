"""What a supervisor is told to do, as one JSON object."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from vmtasks.host import capacity
from vmtasks.machine.identity import CloneIdentity
from vmtasks.machine.launch import BootSource, LaunchConfig, copies_of, stands_on
from vmtasks.process.user import user_name
from vmtasks.qemu.argv import overlay_argv, qemu_argv
from vmtasks.spec import EXCHANGE_BYTES, NOTE_AT, Machine


def plan_of(
    machine: Machine, form: Machine, launch: LaunchConfig, source: BootSource, identity: CloneIdentity | None
) -> dict[str, Any]:
    """Return the supervisor's orders, but for the names of its own files."""
    frozen = source.frozen
    settings = launch.settings
    usual = launch.place.call(capacity.default_limits, emulated=launch.choice.accelerator == "tcg")
    return {
        "argv": qemu_argv(form, disk=form.disk),
        "cwd": str(Path.cwd())
        if form.extra_args
        else None,  # a caller's own arguments may name files beside the caller
        "prepare": [overlay_argv(machine.disk, machine.disk_format, form.disk)]
        if form.ephemeral and not frozen
        else launch.keeping.prepare,
        "blank": [[str(form.exchange), EXCHANGE_BYTES]] if form.exchange else [],
        "copy": [[*map(str, pair)] for pair in (copies_of(form, frozen) if frozen else launch.keeping.copy)],
        "scratch": [str(work) for work, _ in launch.keeping.move],
        "load": str(frozen.state) if frozen else None,
        "note": [str(form.exchange), NOTE_AT, identity.note] if identity and form.exchange else None,
        "hold": [*map(str, stands_on(launch, source))],
        "slot": {
            "directory": str(launch.queue) if launch.queue else None,
            "machines": settings.machines or usual.machines,
            "memory_mib": settings.memory_mib or usual.memory_mib,
            "claim_mib": machine.memory_mib,
            # Those who wait there do not know our users.
            "what": launch.purpose
            if launch.place.is_local
            else f"{launch.purpose}, of {user_name()} at {socket.gethostname()}",
        },
        "lease": {
            "name": machine.name,
            "image": launch.image,
            "user": user_name(),
            "what": launch.purpose,
            "caller_pid": os.getpid(),
            "memory_mib": machine.memory_mib,
        },
    }
