"""Tell that a machine is ready, wherever it comes from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from vmtasks import events
from vmtasks.guest.guest import Guest


def announce(
    guest: Guest,
    *,
    image: str,
    accelerator: str,
    accelerator_reason: str,
    start_reason: str,
    host: str,
    start: str = "cold",
    image_key: str = "",
    manifest: Mapping[str, object] | None = None,
    argv: Sequence[str] = (),
    attempt: int = 1,
) -> None:
    """Emit :class:`vmtasks.events.MachineStarted` for a guest; that class says what each means."""
    events.emit(
        events.MachineStarted(
            machine=guest.name,
            image=image,
            image_key=image_key,
            manifest=manifest or {},
            argv=tuple(argv),
            accelerator=accelerator,
            accelerator_reason=accelerator_reason,
            start=start,
            start_reason=start_reason,
            ssh=shlex.join(guest.ssh_command),
            host=host,
            attempt=attempt,
            console=guest.console_log,
        )
    )
