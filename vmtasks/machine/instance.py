"""What is known of a machine of QEMU's that runs, beside what every guest can do."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtasks import events
from vmtasks.guest import Guest
from vmtasks.guest.console import GuestConsole
from vmtasks.machine.sampling import sampling

if TYPE_CHECKING:
    from vmtasks.machine.alarm_watch import ConsoleAlarms
    from vmtasks.machine.checkpoint import Checkpointer
    from vmtasks.machine.launch import BootSource
    from vmtasks.ssh.connect import Address
    from vmtasks.ssh.session import Session
    from vmtasks.supervisor.client import SupervisorClient


class QemuGuest(Guest):
    """A guest, and the QEMU that it runs in.

    :param client: the line to its supervisor.
    :param source: what it was started from.
    :param directory: its own, on the host that runs it.
    :param console: its serial console.
    :param console_alarms: what its kernel has to say there.
    :param checkpointer: saves it; None: nothing is known of its image, so that nothing could start from what is saved.
    """

    def __init__(
        self,
        session: Session,
        *,
        client: SupervisorClient,
        source: BootSource,
        address: Address,
        directory: Path,
        console: GuestConsole,
        console_alarms: ConsoleAlarms,
        checkpointer: Checkpointer | None = None,
        **of_any_guest: Any,  # noqa: ANN401 - Guest says what
    ) -> None:
        super().__init__(
            session,
            address=address,
            sampling=partial(sampling, client),
            save=checkpointer.checkpoint if checkpointer else None,
            freeze=checkpointer.freeze if checkpointer else None,
            **of_any_guest,
        )
        self.client = client
        self.source = source
        self.address: Address = address
        self.directory = directory
        self.checkpointer = checkpointer
        self._console = console
        self._alarms = console_alarms

    @property
    def alarms(self) -> tuple[events.ConsoleAlarm, ...]:
        """What its kernel has reported on the console until now; of a machine that has ended, all of it."""
        return tuple(self._alarms.found)
