"""Which process may run a machine now: one queue for the whole host, whatever process and user asks.

Every claim has a ticket, a file in a directory that all users share. Its name is its number in the queue,
and the claim keeps it locked with flock(2). The kernel drops that lock whichever way a process ends, so a
ticket that no process has locked is dead and counts for nothing: there is no daemon, and no state to go stale.
A lock on the directory itself makes looking and taking one step.

A host can take no new machines for a time (:mod:`vmtasks.host.availability`): claims are withheld then. Whatever is
withheld is in nobody's way, since not all go by the same settings, and has its place in the queue again afterwards:
those that were withheld go on in their order.

A claim is admitted once every earlier one has been and the limits leave room for it. None overtakes another, so
that many small machines never starve a large one. A claim for several machines has a ticket for each; it takes them in
one step, and all of them become slots in one step: no two claims ever hold a part of what they need and wait for each
other's.

This is courtesy among the users of a host, not a defence: any user who can log in can also hold every slot. But
what others put into the directory is never followed, never written to, and believed only if it is well formed.

Standard library only: the supervisor takes its slot itself, also on hosts that have nothing but python3.
"""

# Up in milliseconds, and everything relative to an open directory: os serves, pathlib need not be loaded.
# ruff: noqa: PTH102, PTH116

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import time
from collections import namedtuple
from contextlib import contextmanager, suppress

from vmtasks.files import typed_json
from vmtasks.host import availability
from vmtasks.host.availability import ALWAYS, NONE
from vmtasks.process.user import user_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from vmtasks.host.availability import Availability, Rules

WAITING, WITHHELD, RUNNING = "waiting", "withheld", "running"
"""Where a live claim stands."""

POLL_S = 0.2
"""How long a waiting claim lets pass between two looks: a killed holder gives no other sign than its lock."""

_PATIENCE_S = 10.0
"""How long to wait for the directory's lock, which is held for milliseconds: longer, and its holder is stopped."""

_ASIDE = "what else it needs was not free"
_NAME = re.compile(r"[0-9]{12}")
_CONTENT_BYTES = 4096
_LETTERS = 120
_SHAPE = {"state": {WAITING, WITHHELD, RUNNING}, "user": str, "pid": int, "what": str, "memory_mib": int}
_OPEN_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_TO_ALL = 0o1777
_NOT_OURS = {errno.EACCES, errno.ELOOP, errno.ENOENT, errno.ENXIO}
"""The errors of opening a name that no claim of ours has: closed to us, a link, just gone, a socket."""


class ClaimTooLargeError(ValueError):
    """A claim asks for more memory than there is to share out: it would wait for ever."""


class SlotsUnavailableError(OSError):
    """The queue cannot be used: its directory is not what it should be, or cannot be written."""


# No dataclasses in this module: each machine's supervisor imports it, and they would take as long as all else.
class Ticket(namedtuple("Ticket", ("seq", "state", "user", "uid", "pid", "purpose", "memory_mib", "since_s"))):  # noqa: PYI024
    """What a live claim tells all others of itself."""

    __slots__ = ()
    if TYPE_CHECKING:
        seq: int
        state: str
        """:data:`WAITING`, :data:`WITHHELD` or :data:`RUNNING`."""
        user: str
        """The name that the claimant gives; *uid* is what the kernel reports."""
        uid: int
        pid: int
        purpose: str
        memory_mib: int
        since_s: float
        """Since when it has been in this state, in seconds since the epoch."""

    def __str__(self) -> str:
        return f"{self.purpose} of {self.user} ({self.state}, {self.memory_mib} MiB, pid {self.pid})"


class Limits(namedtuple("Limits", ("machines", "memory_mib"))):  # noqa: PYI024
    """How many machines may run at once, and how much memory they may have together."""

    __slots__ = ()
    if TYPE_CHECKING:
        machines: int
        memory_mib: int

    def __new__(cls, *, machines: int, memory_mib: int) -> Self:
        """Make them.

        :raise ValueError: no machine could ever run.
        """
        if machines < 1:
            raise ValueError(f"cannot share out {machines} machines: at least one must be allowed to run")
        return super().__new__(cls, machines, memory_mib)

    def admit(self, memory_mib: int, ahead: Sequence[Ticket], machines: int = 1) -> bool:
        """Tell whether a claim of *memory_mib* for so many *machines* may run, with those tickets ahead of it.

        More machines than may run at once may do so alone: they are slow then, while too much memory is the end.
        """
        return (
            all(ticket.state == RUNNING for ticket in ahead)
            and (len(ahead) + machines <= self.machines or not ahead)
            and sum(ticket.memory_mib for ticket in ahead) + memory_mib <= self.memory_mib
        )


def default_directory() -> str:
    """Return where this host's queue is: the same answer for every user, or there would be two queues."""
    if any(_is_open_to_all(path) for path in ("/run/lock/vmtasks", "/run/lock")):
        return "/run/lock/vmtasks"
    return "/tmp/vmtasks-slots"  # noqa: S108 - shared on purpose; links are refused when it is opened


def tickets(directory: str | None = None) -> tuple[Ticket, ...]:
    """Return the live tickets in order, changing nothing.

    :raise SlotsUnavailableError: the directory is not one, or another process keeps it locked.
    """
    with _held(directory or default_directory()) as queue:
        return () if queue is None else tuple(ticket for _, ticket in _scan(queue) if ticket)


def sweep(directory: str | None = None) -> tuple[str, ...]:
    """Remove the tickets of claims that are dead, and return their paths; those of other users are theirs to remove.

    :raise SlotsUnavailableError: the directory is not one, or another process keeps it locked.
    """
    path = directory or default_directory()
    with _held(path) as queue:
        if queue is None:
            return ()
        dead = [name for name, ticket in _scan(queue) if ticket is None and _remove(name, queue)]
    return tuple(os.path.join(path, name) for name in dead)  # noqa: PTH118 - no pathlib


@contextmanager
def _held(path: str) -> Iterator[int | None]:
    """Have a queue to oneself, and yield its descriptor; None where there is none."""
    with _explained(path):
        try:
            queue = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _OPEN_SAFELY)
        except FileNotFoundError:
            yield None
            return
        try:
            with _locked(queue, _PATIENCE_S):
                yield queue
        finally:
            os.close(queue)


class Claim:
    """A place in the queue and then a slot, until it is released or the process ends.

    It takes its place at once and is a context manager, which releases it. To be driven by a loop of your
    own, call :meth:`poll` every :data:`POLL_S` seconds or so; otherwise call :meth:`wait`.

    :param purpose: what the slot is for, in the words that others shall read while they wait.
    :param memory_mib: the memory that the machine will have.
    :param limits: what the host can bear. Every claim goes by its own.
    :param directory: where the queue is, if not in :func:`default_directory`.
    :param beside: the same two of further machines, which get their slots together with this one.
    :param rules: when the host takes new machines, as far as nobody has declared that by hand.
    :raise ClaimTooLargeError: the memory is more than *limits* will ever leave.
    :raise SlotsUnavailableError: the queue cannot be used.
    """

    def __init__(
        self,
        purpose: str,
        memory_mib: int,
        limits: Limits,
        *,
        directory: str | None = None,
        beside: Sequence[tuple[str, int]] = (),
        rules: Rules = ALWAYS,
    ) -> None:
        machines = [(purpose, memory_mib), *beside]
        self.memory_mib = sum(size_mib for _, size_mib in machines)
        if self.memory_mib > limits.memory_mib:
            more = f" and {len(beside)} beside it" if beside else ""
            raise ClaimTooLargeError(
                f"cannot run {purpose}{more} with {self.memory_mib} MiB: machines on this host may have "
                f"{limits.memory_mib} MiB together. Give it less memory, or raise the limit "
                "(memory_mib in /etc/vmtasks/config.toml, or VMTASKS_SLOTS_MEMORY_MIB)"
            )
        self.limits = limits
        self._rules = rules
        self._state = WAITING
        common = {"user": user_name(), "pid": os.getpid()}
        self._abouts = [
            {**common, "what": availability.plain(one, _LETTERS), "memory_mib": size_mib} for one, size_mib in machines
        ]
        self._ahead: tuple[Ticket, ...] = ()
        self._tickets: dict[int, int] = {}
        """Their descriptors, by their numbers."""
        self._queue = -1
        self._path = directory or default_directory()
        try:
            with _explained(self._path):
                self._queue = _open_queue(self._path)
                with _locked(self._queue, _PATIENCE_S):
                    self._take_place()
                    self._look()
        except BaseException:
            self.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def poll(self) -> tuple[Ticket, ...]:
        """Look once, without waiting; return the tickets that are in the way, and none once admitted."""
        if self._ahead:
            with suppress(BlockingIOError), _locked(self._queue, 0):  # busy: the last answer stands until the next
                self._look()
        return self._ahead

    def wait(
        self,
        on_wait: Callable[[tuple[Ticket, ...]], object] = lambda _: None,
        *,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """Return once admitted.

        :param on_wait: told which tickets are in the way, at first and whenever that changes.
        :param pause: lets a number of seconds pass; it may raise to give up.
        """
        wait_for(self.poll, on_wait, pause)

    def stand_aside(self) -> None:
        """Give the slot back and keep the place, in nobody's way until the next :meth:`poll`.

        For who also needs what is no slot, and could not have it: to keep the slot meanwhile would have others wait, of
        whom one may have what is needed.

        :raise SlotsUnavailableError: another process keeps the queue locked.
        """
        with _explained(self._path), _locked(self._queue, _PATIENCE_S):
            self._write(WITHHELD)
        about = self._abouts[0]
        self._ahead = (
            Ticket(0, WITHHELD, str(about["user"]), os.getuid(), os.getpid(), _ASIDE, self.memory_mib, time.time()),
        )

    def release(self) -> None:
        """Give the place or the slot back; a second time does nothing."""
        for seq, ticket in self._tickets.items():
            with suppress(OSError):  # gone, or no longer ours to remove: unlocked, it counts for nothing anyway
                os.unlink(_name(seq), dir_fd=self._queue)
            os.close(ticket)
        if self._queue >= 0:
            os.close(self._queue)
        self._tickets = {}
        self._queue = -1
        self._ahead = ()

    def _take_place(self) -> None:
        """Make our tickets behind all live ones; the queue is locked."""
        seq = 1 + max((ticket.seq for _, ticket in _scan(self._queue) if ticket), default=0)
        while len(self._tickets) < len(self._abouts):
            with suppress(FileExistsError):  # the dead ticket of another user, which only they can remove
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN_SAFELY
                self._tickets[seq] = ticket = os.open(_name(seq), flags, 0o600, dir_fd=self._queue)
                fcntl.flock(ticket, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.fchmod(ticket, 0o644)  # for all to read, whatever the umask
            seq += 1
        self._write(WAITING)

    def _look(self) -> None:
        """Learn which claims are in the way, sweep out the dead, and take the slot if it is free; the queue is locked.

        :raise SlotsUnavailableError: a ticket of ours has been removed, so that no other process knows of us.
        """
        for seq, fd in self._tickets.items():
            if not os.fstat(fd).st_nlink:
                raise SlotsUnavailableError(f"cannot wait for a slot: our ticket {_name(seq)} has been removed")
        # Those behind us may run already, if we were withheld.
        others = [one for one in self._others() if one.state == RUNNING or one.seq < min(self._tickets)]
        ahead = [one for one in others if one.state != WITHHELD]
        running = sum(ticket.state == RUNNING for ticket in ahead)
        host = availability.now(self._queue, self._rules, machines=running)
        if host.state == NONE:
            self._enter(WITHHELD)
            ahead = [_as_ticket(host)]
        elif self._state == WITHHELD and len(ahead) < len(others):
            self._enter(WAITING)  # by our next look, those before us have taken their places again
            return
        elif self.limits.admit(self.memory_mib, ahead, len(self._tickets)):
            self._enter(RUNNING)
            ahead = []
        else:
            self._enter(WAITING)
        self._ahead = tuple(ahead)

    def _others(self) -> Iterator[Ticket]:
        """Yield the tickets of other claims that live; the dead are swept out."""
        for name, ticket in _scan(self._queue):
            if ticket is None:
                _remove(name, self._queue)
            elif ticket.seq not in self._tickets:
                yield ticket

    def _enter(self, state: str) -> None:
        if state != self._state:
            self._write(state)

    def _write(self, state: str) -> None:
        self._state = state
        for ticket, about in zip(self._tickets.values(), self._abouts, strict=True):
            content = json.dumps({"state": state, **about}).encode()
            os.pwrite(ticket, content, 0)
            os.ftruncate(ticket, len(content))


def wait_for(
    poll: Callable[[], tuple[Ticket, ...]],
    on_wait: Callable[[tuple[Ticket, ...]], object],
    pause: Callable[[float], object],
) -> None:
    """Return once a claim is admitted that *poll* looks at; see :meth:`Claim.wait`."""
    told: tuple[Ticket, ...] = ()
    while ahead := poll():
        if ahead != told:
            on_wait(ahead)
            told = ahead
        pause(POLL_S)


def make_queue(path: str) -> None:
    """Make the directory of a queue, if it is not there.

    :raise SlotsUnavailableError: it cannot be made, or is no directory.
    """
    with _explained(path):
        os.close(_open_queue(path))


def waiting_for(ahead: Sequence[Ticket]) -> str:
    """Say what is in the way of a claim: what comes behind "waiting"."""
    first, *others = ahead
    if first.state == WITHHELD:
        return f": {first.purpose}"
    more = f", and {len(others)} more" if others else ""
    return f" for a slot behind {first.purpose} of {first.user} (pid {first.pid}){more}"


def _as_ticket(host: Availability) -> Ticket:
    """Return what the host has to say as if it were a claim ahead of all others."""
    return Ticket(0, WITHHELD, host.by, 0, 0, str(host), 0, host.since_s)


def _name(seq: int) -> str:
    return f"{seq:012d}"


def _remove(name: str, queue: int) -> bool:
    """Remove a ticket, and tell whether we could: another user's lies there until they do, and counts for nothing."""
    try:
        os.unlink(name, dir_fd=queue)
    except OSError:
        return False
    return True


def _is_open_to_all(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and mode & _OPEN_TO_ALL == _OPEN_TO_ALL


@contextmanager
def _explained(directory: str) -> Iterator[None]:
    """Turn what the kernel refuses into a sentence."""
    try:
        yield
    except BlockingIOError as problem:
        raise SlotsUnavailableError(
            f"cannot queue for a slot in {directory}: some process has kept it locked for {_PATIENCE_S:.0f} s. "
            f"See who with: lslocks"
        ) from problem
    except OSError as problem:
        raise SlotsUnavailableError(
            f"cannot queue for a slot in {directory}: {problem.strerror or problem}. "
            f"It must be a directory, not a link, that all users may write to (mode 1777)"
        ) from problem


def _open_queue(directory: str) -> int:
    """Open the directory of the queue, which the first to come makes."""
    flags = os.O_RDONLY | os.O_DIRECTORY | _OPEN_SAFELY
    with suppress(FileNotFoundError):
        return os.open(directory, flags)
    umask = os.umask(0)  # one step: with a chmod to follow, another process could come in between and be refused
    try:
        with suppress(FileExistsError):
            os.mkdir(directory, _OPEN_TO_ALL)
    finally:
        os.umask(umask)
    return os.open(directory, flags)


@contextmanager
def _locked(queue: int, patience_s: float) -> Iterator[None]:
    """Have the queue to ourselves.

    :raise BlockingIOError: another process has had it for *patience_s* seconds.
    """
    give_up_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= give_up_s:
                raise
            time.sleep(0.002)
    try:
        yield
    finally:
        fcntl.flock(queue, fcntl.LOCK_UN)


def _scan(queue: int) -> Iterator[tuple[str, Ticket | None]]:
    """Yield the names of tickets in order, each with its content, or None if it is dead; the queue is locked."""
    for name in sorted(filter(_NAME.fullmatch, os.listdir(queue))):
        try:
            fd = os.open(name, os.O_RDONLY | _OPEN_SAFELY, dir_fd=queue)
        except OSError as problem:
            if problem.errno not in _NOT_OURS:
                raise
            continue
        try:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                continue
            if not _is_held(fd):
                yield name, None
            elif ticket := _parse(int(name), about, os.pread(fd, _CONTENT_BYTES, 0)):
                yield name, ticket
        finally:
            os.close(fd)


def _is_held(fd: int) -> bool:
    """Tell whether a process has locked the ticket. If not, we do, until it is closed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _parse(seq: int, about: os.stat_result, content: bytes) -> Ticket | None:
    """Read a ticket that another process may have written with anything in it; None if it is not like ours."""
    fields = typed_json.parse(content, _SHAPE)
    if fields is None or fields["memory_mib"] < 0:
        return None
    state, user, pid, purpose, memory_mib = (fields[key] for key in _SHAPE)
    return Ticket(
        seq=seq,
        state=state,
        user=availability.plain(user, _LETTERS),
        uid=about.st_uid,
        pid=pid,
        purpose=availability.plain(purpose, _LETTERS),
        memory_mib=memory_mib,
        since_s=about.st_mtime,
    )
