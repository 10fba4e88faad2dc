"""What a machine boots with that has no boot loader: told to its supervisor, which starts QEMU anew with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError
from vmtasks.machine.kernel_rooms import KernelRooms
from vmtasks.qemu.argv import qemu_argv
from vmtasks.spec import DirectKernel, Machine
from vmtasks.supervisor.client import SupervisorClient

_LIMIT_S = 15.0
"""How long its supervisor, and QEMU, may take to take note of it."""


class DirectBoots:
    """What one machine boots with at its next resets; see :class:`vmtasks.guest.direct_boot.BootChoice`.

    :param form: the machine as it was started.
    :param boot: what it was started with.
    :param port: the port of its host that leads to its sshd, and is to go on to.
    :param rooms: where the files of kernels are kept for it.
    :param pin: returns the disk that it writes to, and sees that this stays the one.
    """

    def __init__(
        self,
        form: Machine,
        boot: DirectKernel,
        client: SupervisorClient,
        *,
        port: int,
        rooms: KernelRooms,
        pin: Callable[[], Path],
    ) -> None:
        self.image = self.default = boot
        self.default_release = ""
        # No saved state is gone on from, and what was a copy's memory is nobody's.
        ram = form.ram if form.ram and form.ram.shared else None
        self._form = replace(form, ssh_port=port, waits=False, ram=ram)
        self._client = client
        self.rooms = rooms
        self._pin = pin

    def choose(self, *, default: DirectKernel, release: str, once: DirectKernel | None = None) -> None:
        """Have the machine boot with *default* from its next reset on, or after that with *once*.

        :param release: what *default* is called in ``default_release``.
        :raise HostError: its supervisor cannot see to that, or its host cannot be reached any more.
        """
        disk = self._pin()
        try:
            self._client.request(
                Deadline.after(_LIMIT_S),
                do="boots",
                once=self._argv(once, disk) if once else None,
                default=self._argv(default, disk),
            )
        except BootError as problem:
            raise HostError(f"cannot choose what {self._form.name} boots with: {problem}") from problem
        self.default, self.default_release = default, release
        self.rooms.keep({default.kernel.parent, *([once.kernel.parent] if once else [])})

    def _argv(self, boot: DirectKernel, disk: Path) -> tuple[str, ...]:
        return qemu_argv(replace(self._form, boot=boot), disk=disk)
