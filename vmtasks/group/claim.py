"""The slots of a group, on the host that runs its machines: claimed there, asked about and given back from here.

What is done there, a caller elsewhere has done by an agent (:mod:`vmtasks.remote.agent`), which is left with the claim
when the caller is gone. Standard library only.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vmtasks.config.paths import socket_dir
from vmtasks.errors import HostError
from vmtasks.host.availability import Rules
from vmtasks.host.local import Host
from vmtasks.host.slots import Claim, ClaimTooLargeError, Limits, SlotsUnavailableError, Ticket, wait_for
from vmtasks.process.cleanup import remove_at_exit

Asked = Sequence[tuple[str, int]]
"""What each machine is for, and its memory in MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupClaim:
    """A claim for all machines of a group, which get their slots in one step and take them from a queue of its own."""

    place: Host
    key: str
    """What it is called there."""
    queue: Path
    """The directory, there, of the queue in which each machine takes the slot that the group has for it."""
    machines: int
    memory_mib: int

    def poll(self) -> tuple[Ticket, ...]:
        """Look once; return the tickets that are in the way, and none once admitted.

        :raise HostError: the queue cannot be used, or the host not be reached any more.
        """
        return self.place.call(look, self.key)

    def wait(self, on_wait: Callable[[Sequence[Ticket]], object], *, pause: Callable[[float], object]) -> None:
        """Return once admitted; the parameters are those of :meth:`vmtasks.host.slots.Claim.wait`.

        :raise HostError: the queue cannot be used, or the host not be reached any more.
        """
        wait_for(self.poll, on_wait, pause)

    def stand_aside(self) -> None:
        """Give the slots back and keep the place, in nobody's way until the next :meth:`poll`.

        :raise HostError: the queue cannot be used, or the host not be reached any more.
        """
        self.place.call(step_aside, self.key)


@contextmanager
def claimed(place: Host, machines: Asked, limits: Limits, rules: Rules) -> Iterator[GroupClaim]:
    """Yield a claim that has its place in the queue of a host, and is given back at the end of the block.

    :raise HostError: the machines will never have their slots there.
    """
    key = secrets.token_hex(8)
    with place.enter(claiming, key, list(machines), limits, rules) as queue:
        memory_mib = sum(size_mib for _, size_mib in machines)
        yield GroupClaim(place=place, key=key, queue=queue, machines=len(machines), memory_mib=memory_mib)


# --- what is done on the host that runs the machines

_claims: dict[str, Claim] = {}


@contextmanager
def claiming(key: str, machines: Asked, limits: Limits, rules: Rules) -> Iterator[Path]:
    """Have a claim of that name in this host's queue, and yield the directory of the queue behind it.

    :raise HostError: it will never be admitted.
    """
    first, *others = machines
    with _explained(), tempfile.TemporaryDirectory(prefix="vmtasks-", dir=socket_dir()) as queue:
        remove_at_exit(Path(queue))
        with Claim(*first, limits, beside=others, rules=rules) as claim:
            _claims[key] = claim
            try:
                yield Path(queue)
            finally:
                del _claims[key]


def look(key: str) -> tuple[Ticket, ...]:
    """Do what :meth:`GroupClaim.poll` does."""
    with _explained():
        return _claims[key].poll()


def step_aside(key: str) -> None:
    """Do what :meth:`GroupClaim.stand_aside` does."""
    with _explained():
        _claims[key].stand_aside()


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the queue refuses into an error that travels."""
    try:
        yield
    except (ClaimTooLargeError, SlotsUnavailableError) as problem:
        raise HostError(str(problem)) from problem
