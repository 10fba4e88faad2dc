"""A machine that simply is there: reached over ssh, lent to one at a time, and never clean."""

from __future__ import annotations

import os
import re
import shlex
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from vmtasks import events
from vmtasks.config.settings import HostSettings
from vmtasks.debian import apt, packages
from vmtasks.errors import CommandFailed, HostError, UsageError
from vmtasks.guest import Guest
from vmtasks.guest.announce import announce
from vmtasks.image.definition import Definition, find
from vmtasks.process.user import user_name
from vmtasks.project.source_package import WORKSHOP
from vmtasks.providers.apply_image import apply_image
from vmtasks.providers.base import BootOptions, MachineRequest, warn_ignored
from vmtasks.providers.static_host.reservation import Reservation
from vmtasks.ssh.openssh import reach, ssh_words
from vmtasks.ssh.session import Session

SCHEME = "ssh://"
OURS = (WORKSHOP, apt.LOCAL_REPOSITORY, *apt.LOCAL_FILES, packages.OLDER)
"""What recipes make wherever they run."""
DPKG_JOURNAL = "/var/lib/dpkg/updates"
"""Has files with numbers for names while dpkg works, and where it did not come to its end."""
DPKG_FINISH = "DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --configure -a"
# No name that begins with a dash, and nothing that a shell or ssh would take for more than a name.
_ADDRESS = re.compile(r"(?:([^@]*)@)?([A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+(?:%\w+)?\])(?::([0-9]{1,5}))?", re.ASCII)
_NEEDS = {
    "apt-get": "it runs no Debian, then",
    "flock": "it comes with the package util-linux",
    "setpriv": "it comes with the package util-linux",
}
_IGNORED = ("memory_mib", "cpus", "accel", "attempts", "cold")

_holders: set[tuple[StaticHost, threading.Thread]] = set()
"""Which thread of this process has which machine, or had it and has lost it: then two may be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticHost:
    """The machine at ``ssh://[root@]HOST[:PORT]``."""

    host: str
    port: int | None = None

    @classmethod
    def at(cls, on: str) -> StaticHost:
        """Return the machine that ``--on`` names.

        :raise UsageError: it names none.
        """
        found = _ADDRESS.fullmatch(on.removeprefix(SCHEME))
        if found is None or int(found[3] or 22) not in range(1, 2**16):
            raise UsageError(f"cannot have a machine at {on!r}: it must be {SCHEME}[root@]HOST[:PORT]")
        user, host, port = found.groups()
        if user not in (None, "root"):
            raise UsageError(
                f"cannot work as {user!r} at {host}: what recipes do there, root alone may do",
                hint=f"let your key in as root there, and say {SCHEME}root@{host}",
            )
        return cls(host=host.strip("[]"), port=int(port) if port else None)

    @property
    def on(self) -> str:
        """What names it for ``--on``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{SCHEME}root@{host}" + (f":{self.port}" if self.port else "")

    @contextmanager
    def machine(self, request: MachineRequest) -> Iterator[Guest]:
        """Yield the guest that the machine is; see :class:`vmtasks.providers.base.Provider`.

        It waits until no other process has the machine. What recipes leave there goes in the end; packages stay.

        :raise ConnectionLost: while the block runs, by the guest's verbs: the machine is ours no longer.
        """
        image, options = request.image, request.options
        if not isinstance(image, str):
            raise UsageError(f"cannot start from {image.name} at {self.host}: it is no machine that can be copied")
        definition = find(image)
        self._expect_possible(definition, options)
        name = request.name
        warn_ignored(request, _IGNORED, place=self.host, reason="it is what it is")
        reservation = Reservation(self.host)
        with events.phase("ssh", machine=name, detail=self.host):
            connect = partial(reach, self.host, self.port, reservation.watch)
            session = Session(name, connect(), lambda _: connect(), reservation.watch)
        try:
            self._expect_debian(session)
            with self._reserved(reservation, session, request.purpose or image):
                settings = HostSettings.load()
                _, *words = ssh_words(self.host, self.port)
                guest = Guest(
                    session,
                    log_dir=request.log_dir,
                    heartbeat_s=settings.heartbeat_s,
                    ssh_command=[*settings.ssh_argv(), *words],
                )
                self._tell(guest, image, is_whole=reservation.is_whole)
                self._finish_packages(session)
                apply_image(guest, definition)
                yield guest
        finally:
            session.close()

    def command_line(self, request: MachineRequest) -> tuple[str, ...]:
        """Refuse: it runs already.

        :raise UsageError: always.
        """
        raise UsageError(f"cannot print the command line of {request.name}: {self.host} is a machine that runs already")

    def _expect_possible(self, definition: Definition, options: BootOptions) -> None:
        network = options.network or definition.network
        if network != "user":
            raise UsageError(
                f"cannot keep {self.host} from the network ('{network}'): it has one, and is not ours to shut in",
                hint="--on local can",
            )
        if options.extra_args:
            raise UsageError(f"cannot give {self.host} arguments for QEMU: it is none of QEMU's machines")
        if options.kernel:
            raise UsageError(f"cannot give {self.host} another kernel: it runs already")
        if (self, threading.current_thread()) in _holders:
            raise UsageError(
                f"cannot have a second machine at {self.host}: there is one, and who asks has not given it back yet",
                hint="end the block of the first machine before the second one's begins",
            )

    def _expect_debian(self, session: Session) -> None:
        question = f"id -u; for name in {' '.join(_NEEDS)}; do command -v $name >/dev/null || echo $name; done"
        try:
            number, *missing = session.query(question).split() or [""]
        except CommandFailed as problem:
            number, missing = str(problem), []
        if number != "0":
            raise HostError(
                f"cannot work as root at {self.host}: it answers {number!r} where root's number, 0, should be",
                hint=f"`{shlex.join(ssh_words(self.host, self.port))} id -u` shows what it says",
            )
        if missing:
            raise HostError(f"cannot use {self.host}: it has no {missing[0]}", hint=_NEEDS[missing[0]])

    @contextmanager
    def _reserved(self, reservation: Reservation, session: Session, purpose: str) -> Iterator[None]:
        description = f"{purpose} of {user_name()} at {socket.gethostname()} (pid {os.getpid()})"
        holder = (self, threading.current_thread())  # though another one may give it back
        with reservation.acquire(session, description, OURS):
            _holders.add(holder)
            try:
                yield
            finally:
                _holders.remove(holder)

    def _finish_packages(self, session: Session) -> None:
        """Have dpkg go on where it was killed with the program that had the machine: apt does nothing before."""
        try:
            session.query(f"! ls {DPKG_JOURNAL}/[0-9]* 2>/dev/null || {DPKG_FINISH}")
        except CommandFailed as problem:
            raise HostError(
                f"cannot use {self.host}: dpkg was interrupted there, and cannot finish",
                details=problem.details,
                hint=f"`{shlex.join(ssh_words(self.host, self.port))} dpkg --configure -a` must end well",
            ) from problem

    def _tell(self, guest: Guest, image: str, *, is_whole: bool) -> None:
        announce(
            guest,
            image=image,
            accelerator="none",
            accelerator_reason=f"{self.host} is what it is",
            start_reason="an existing host",
            host=self.on,
        )
        more = "" if is_whole else "; processes that commands leave running stay, too: it has no control groups"
        text = f"{self.host} is not clean: what was installed there before is there, and what is installed now stays"
        events.emit(events.Note(machine=guest.name, text=text + more))
