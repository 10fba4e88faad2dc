"""An existing host from the moment that we are connected to it: had for nobody else, and lent as a guest."""

from __future__ import annotations

import os
import shlex
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vmtasks import events
from vmtasks.config.settings import HostSettings
from vmtasks.debian import apt, packages
from vmtasks.errors import CommandFailed, HostError
from vmtasks.guest import Guest, places
from vmtasks.guest.announce import announce
from vmtasks.image.definition import Definition
from vmtasks.machine.alarm_watch import expect_none
from vmtasks.process.user import user_name
from vmtasks.project.source_package import WORKSHOP
from vmtasks.providers.apply_image import apply_image
from vmtasks.providers.base import MachineRequest
from vmtasks.providers.static_host.console import ExistingGuest, HostConsole, host_console
from vmtasks.providers.static_host.power import HostPower
from vmtasks.providers.static_host.reservation import HostInUseError, Reservation
from vmtasks.ssh.openssh import ssh_words
from vmtasks.ssh.session import Session

OURS = (WORKSHOP, apt.LOCAL_REPOSITORY, *apt.LOCAL_FILES, packages.OLDER, *places.ALL)
"""What recipes make wherever they run."""
SCRATCH = places.SCRATCH
DPKG_JOURNAL = "/var/lib/dpkg/updates"
"""Has files with numbers for names while dpkg works, and where it did not come to its end."""
DPKG_FINISH = "DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --configure -a"
_NEEDS = {
    "apt-get": "it runs no Debian, then",
    "flock": "it comes with the package util-linux",
    "setpriv": "it comes with the package util-linux",
}

holders: set[tuple[str, int | None, threading.Thread]] = set()
"""Which thread of this process has which machine, or had it and has lost it: then two may be there."""


def _us() -> str:
    return f"of {user_name()} at {socket.gethostname()} (pid {os.getpid()})"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostVisit:
    """A machine that we are connected to, and can have."""

    host: str
    port: int | None
    on: str
    """What `--on` calls it."""
    request: MachineRequest
    definition: Definition | None
    """The image that the machine is to be made like; None: it is used as it is."""
    session: Session
    reservation: Reservation

    @contextmanager
    def reserved(self, *, waits: bool = True) -> Iterator[None]:
        """Have the machine, for nobody else, until the end of the block.

        :param waits: whether to wait for another process that has it.
        :raise HostInUseError: another process has it, and we do not wait.
        """
        purpose = self.request.purpose or self.request.name
        description = f"{purpose} {_us()}"
        holder = (self.host, self.port, threading.current_thread())  # though another one may give it back
        with self.reservation.acquire(self.session, description, OURS, scratch=SCRATCH, waits=waits):
            holders.add(holder)
            try:
                yield
            finally:
                holders.remove(holder)

    @staticmethod
    def says_it_is_ours(problem: HostInUseError) -> bool:
        """Tell whether it is this process that has a machine already, by another name."""
        return _us() in str(problem)

    @contextmanager
    def lent(self) -> Iterator[Guest]:
        """Yield the guest that the machine is, while it is reserved."""
        settings = HostSettings.load()
        power = HostPower.of(self.host, self.port, settings)
        _, *words = self._ssh_words()
        with self._console(settings) as console:
            guest = ExistingGuest(
                self.session,
                called=power.name,
                host_console=console,
                log_dir=self.request.log_dir,
                heartbeat_s=settings.heartbeat_s,
                ssh_command=[*settings.ssh_argv(), *words],
                power=power.hand(self.reservation.away),
            )
            self._tell(guest)
            self._finish_packages()
            if self.definition:
                apply_image(guest, self.definition)
            try:
                yield guest
            finally:
                if self.session.is_off:  # it was lent as one that is on
                    power.switch_on()
        if self.request.options.alarms == "fail":
            expect_none(guest.name, guest.alarms)

    @contextmanager
    def _console(self, settings: HostSettings) -> Iterator[HostConsole | None]:
        """Yield the host's console, which is read for alarms in every wait; None: there is no command for it."""
        called, lines = settings.existing(self.host, self.port)
        if not lines.console:
            yield None
            return
        session, reservation = self.session, self.reservation
        with host_console(
            self.request.name,
            lines.console,
            called=called,
            log_dir=self.request.log_dir,
            expect_ours=lambda: None if session.is_off else reservation.watch(0.0),
            listens=self.request.options.alarms != "off",
        ) as console:
            console.alarms.secrets = session.secrets
            reservation.look = console.alarms.look
            try:
                yield console
            finally:
                reservation.look = lambda: None

    def expect_debian(self) -> None:
        """See that the machine lets us do what recipes do.

        :raise HostError: it does not.
        """
        question = f"id -u; for name in {' '.join(_NEEDS)}; do command -v $name >/dev/null || echo $name; done"
        try:
            number, *missing = self.session.query(question).split() or [""]
        except CommandFailed as problem:
            number, missing = str(problem), []
        if number != "0":
            raise HostError(
                f"cannot work as root at {self.host}: it answers {number!r} where root's number, 0, should be",
                hint=f"`{shlex.join(self._ssh_words())} id -u` shows what it says",
            )
        if missing:
            raise HostError(f"cannot use {self.host}: it has no {missing[0]}", hint=_NEEDS.get(missing[0], ""))

    def _finish_packages(self) -> None:
        """Have dpkg go on where it was killed with the program that had the machine: apt does nothing before."""
        try:
            self.session.query(f"! ls {DPKG_JOURNAL}/[0-9]* 2>/dev/null || {DPKG_FINISH}")
        except CommandFailed as problem:
            raise HostError(
                f"cannot use {self.host}: dpkg was interrupted there, and cannot finish",
                details=problem.details,
                hint=f"`{shlex.join(self._ssh_words())} dpkg --configure -a` must end well",
            ) from problem

    def _tell(self, guest: Guest) -> None:
        announce(
            guest,
            image=str(self.request.image),
            accelerator="none",
            accelerator_reason=f"{self.host} is what it is",
            start_reason="an existing host",
            host=self.on,
        )
        is_whole = self.reservation.is_whole
        more = "" if is_whole else "; processes that commands leave running stay, too: it has no control groups"
        text = f"{self.host} is not clean: what was installed there before is there, and what is installed now stays"
        events.emit(events.Note(machine=guest.name, text=text + more))

    def _ssh_words(self) -> list[str]:
        return ssh_words(self.host, self.port)
