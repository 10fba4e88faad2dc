"""A machine that simply is there: reached over ssh, lent to one at a time, and never clean."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError, UsageError
from vmtasks.guest import Guest
from vmtasks.image.definition import Definition, find
from vmtasks.providers.base import MachineRequest, warn_ignored
from vmtasks.providers.static_host.reservation import Reservation
from vmtasks.providers.static_host.visit import HostVisit, holders
from vmtasks.ssh.openssh import reach
from vmtasks.ssh.session import Session

if TYPE_CHECKING:
    from vmtasks.ssh.connect import Connection

SCHEME = "ssh://"
_RETRY_S = 0.5
# No name that begins with a dash, and nothing that a shell or ssh would take for more than a name.
_ADDRESS = re.compile(r"(?:([^@]*)@)?([A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+(?:%\w+)?\])(?::([0-9]{1,5}))?", re.ASCII)
_IGNORED = ("memory_mib", "cpus", "accel", "attempts", "cold")


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
        with ExitStack() as stack:
            visit = stack.enter_context(self.reached(request))
            with events.phase("slot", machine=request.name):
                stack.enter_context(visit.reserved())
            yield stack.enter_context(visit.lent())

    @contextmanager
    def reached(self, request: MachineRequest) -> Iterator[HostVisit]:
        """Connect to the machine, which may be another process's for now, until the end of the block.

        :raise UsageError: it cannot be as it is asked for.
        :raise HostError: it cannot be reached, or does not serve.
        """
        definition = self.expect_possible(request)
        if (self.host, self.port, threading.current_thread()) in holders:
            raise UsageError(
                f"cannot have a second machine at {self.host}: there is one, and who asks has not given it back yet",
                hint="end the block of the first machine before the second one's begins",
            )
        warn_ignored(request, _IGNORED, place=self.host, reason="it is what it is")
        reservation = Reservation(self.host)
        with events.phase("ssh", machine=request.name, detail=self.host):
            connect = partial(reach, self.host, self.port, reservation.watch)
            session = Session(
                request.name, connect(), partial(_reach_again, connect, reservation.watch), reservation.watch
            )
        with closing(session):
            visit = HostVisit(
                host=self.host, port=self.port, on=self.on, request=request, definition=definition, session=session,
                reservation=reservation,
            )  # fmt: skip
            visit.expect_debian()
            yield visit

    def command_line(self, request: MachineRequest) -> tuple[str, ...]:
        """Refuse: it runs already.

        :raise UsageError: always.
        """
        raise UsageError(f"cannot print the command line of {request.name}: {self.host} is a machine that runs already")

    def expect_possible(self, request: MachineRequest) -> Definition | None:
        """See that the machine can be as it is asked for; return the image that it is to be made like, if any.

        :raise UsageError: it cannot.
        """
        image, options = request.image, request.options
        if not isinstance(image, str):
            raise UsageError(f"cannot start from {image.name} at {self.host}: it is no machine that can be copied")
        definition = find(image) if image else None
        network = options.network or (definition.network if definition else "user")
        if network != "user":
            raise UsageError(
                f"cannot keep {self.host} from the network ('{network}'): it has one, and is not ours to shut in",
                hint="--on local can",
            )
        if options.extra_args:
            raise UsageError(f"cannot give {self.host} arguments for QEMU: it is none of QEMU's machines")
        if options.kernel:
            raise UsageError(f"cannot give {self.host} another kernel: it runs already")
        return definition


def _reach_again(connect: Callable[[], Connection], watch: Callable[[float], None], deadline: Deadline) -> Connection:
    """Return a new connection to a host that may be booting.

    :raise BootError: there is none before *deadline*.
    """
    while True:
        try:
            return connect()
        except HostError as problem:
            if deadline.passed:
                message = f"it did not answer over ssh within {deadline.timeout_s:g} s: {problem!s}"
                raise BootError(message, hint=problem.hint) from problem
        watch(deadline.within(_RETRY_S))
