"""The session: one ssh connection to a guest, and how commands begin and end over it.

Whatever waits here watches the machine meanwhile: bad news of it end the wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, CommandFailed, ConnectionLost, GuestLost, InfrastructureError, TestFailed
from vmtasks.process.threads import call_in_thread
from vmtasks.ssh.channel import ChannelResult, follow
from vmtasks.ssh.command import DEFAULT_ENV, Command, CommandSpec, display, remote_line, short
from vmtasks.ssh.keepalive import Keepalive
from vmtasks.ssh.sending import hang_up

if TYPE_CHECKING:
    from fabric import Connection
    from paramiko.channel import Channel

KEEPALIVE_S = 15.0
"""How often the machine is asked whether it still answers."""
SILENCE_LIMIT_S = 120.0
"""How long it may owe an answer: hosts are slow, and being saved takes a machine some seconds."""
TERM_GRACE_S = 5.0
"""How long a command that outlived its limit has between SIGTERM and SIGKILL."""
END_LIMIT_S = 20.0
"""How long a machine may take to end a command: one that hangs never does."""
QUERY_LIMIT_S = 900.0
QUERY_BYTES = 16 * 1024 * 1024
"""How much a small command may print."""
NEWS_S = 1.0
"""How long a machine's own bad news may take that are behind a connection that broke."""
NO_INPUT = 66
"""How one of our own commands ends that finds nothing to work with (EX_NOINPUT, sysexits.h(3head))."""
_OPEN_LIMIT_S = 60.0
_NEVER = Deadline.after(None)


class Session:
    """The connection to one machine.

    :param machine: what the machine is called.
    :param connection: one that has run a command.
    :param connect: makes a new one, within a deadline.
    :param watch: waits so many seconds for news of the machine, and raises if they are bad.
    :param look: looks for such news once a connection has broken; by default it waits for them a little.
    :param host_is_well: tells whether all that the machine stands on does what it should, so that only what runs in
        the machine can be why it no longer answers. Where that is not known, it is not.
    """

    def __init__(
        self,
        machine: str,
        connection: Connection,
        connect: Callable[[Deadline], Connection],
        watch: Callable[[float], None],
        *,
        look: Callable[[], None] | None = None,
        host_is_well: Callable[[], bool] = lambda: False,
    ) -> None:
        self.machine = machine
        self.connection = connection
        self._connect = connect
        self.check: Callable[[], None] = lambda: None
        """Called in every wait; raises when nothing needs the machine any more."""
        self.secrets: set[bytes] = set()
        """What commands print with stars in its place."""
        self.programs: tuple[str, ...] = ()
        """Directories that commands find programs in before all others."""
        self._off = ""
        """Why the machine is off, where that was wanted; empty: it is on."""
        self._watch = watch
        self._look = look or self._wait_for_news
        self._host_is_well = host_is_well
        self._keepalive = Keepalive(connection, every_s=KEEPALIVE_S)

    def watch(self, wait_s: float) -> None:
        """Wait *wait_s* seconds for news of the machine, or less if there are some; raise if they are bad.

        :raise ConnectionLost: it has not answered for :data:`SILENCE_LIMIT_S`.
        :raise GuestLost: the same, by its own doing.
        """
        self.expect_on()
        self.check()
        self._watch(wait_s)
        if self._keepalive.poll() >= SILENCE_LIMIT_S:
            message = f"{self.machine} has not answered for {SILENCE_LIMIT_S:g} s"
            raise self._lost(message, hint="it hangs or has lost its network: its console may tell")

    def switched_off(self, reason: str) -> None:
        """Have every use of the connection tell that the machine is off, and *reason*."""
        self.close()
        self._off = reason

    def switched_on(self) -> None:
        """Have the machine be on again; what comes next is to connect anew."""
        self._off = ""

    @property
    def is_off(self) -> bool:
        """Whether the machine is off, because that was wanted."""
        return bool(self._off)

    def expect_on(self) -> None:
        """See that the machine is on.

        :raise GuestLost: it is off, because that was wanted.
        """
        if self._off:
            raise GuestLost(f"{self.machine} is down: {self._off}", hint="guest.power_cycle() is what switches it on")

    def lost(self, message: str, details: tuple[str, ...] = ()) -> ConnectionLost | GuestLost:
        """Return the error of a connection that broke: the guest's own doing, unless its host shows otherwise.

        :raise ConnectionLost: the machine's own bad news, which have more detail.
        """
        self._look()
        return self._lost(message, details)

    def _lost(self, message: str, details: tuple[str, ...] = (), hint: str = "") -> ConnectionLost | GuestLost:
        is_well = self._host_is_well()
        if not is_well:
            self._look()  # it may have ended while we asked
        error = GuestLost if is_well else ConnectionLost
        return error(message, details=details, hint=hint)

    def _wait_for_news(self) -> None:
        """Watch for a moment, also where there is some that is not bad."""
        deadline = Deadline.after(NEWS_S)
        while not deadline.passed:
            self._watch(deadline.left_s)

    def renew(self, deadline: Deadline) -> None:
        """Connect anew.

        :raise BootError: the machine does not let us in before *deadline*.
        :raise GuestLost: the same, by its own doing.
        """
        self.expect_on()
        self.close()
        try:
            self.connection = self._connect(deadline)
        except BootError as problem:
            if self._host_is_well():
                raise GuestLost(f"{self.machine} did not come back: {problem}", details=problem.details) from problem
            raise
        self._keepalive = Keepalive(self.connection, every_s=KEEPALIVE_S)

    def close(self) -> None:
        """Close the connection; the machine goes on."""
        self.connection.close()

    def line(self, spec: CommandSpec) -> str:
        """Return the line of shell that a command is there; see :func:`vmtasks.ssh.command.remote_line`."""
        return remote_line(self.with_programs(spec))

    def with_programs(self, spec: CommandSpec) -> CommandSpec:
        """Return a command as it is run there: with the programs that commands are to find before all others."""
        if not self.programs:
            return spec
        return replace(spec, env={"PATH": ":".join((*self.programs, DEFAULT_ENV["PATH"])), **spec.env})

    def remembered(self, spec: CommandSpec) -> CommandSpec:
        """Return a command as it was run there, but for its input, for when it has failed."""
        return replace(self.with_programs(spec), stdin=b"", tap=None)

    @contextmanager
    def started(self, line: str, *, timeout_s: float | None = None) -> Iterator[Channel]:
        """Start a line of shell, and yield its channel; it is closed at the end.

        :raise ConnectionLost: the machine no longer answers, or stops to.
        """
        from paramiko.ssh_exception import SSHException

        self.expect_on()
        opened: list[Channel] = []
        given_up = threading.Event()

        def begin() -> Channel:
            # the limit that is told is ours, so this one, which paramiko looks at ten times a second, comes after it
            channel: Channel = self.connection.transport.open_session(timeout=open_timeout_s + 1)
            opened.append(channel)
            if given_up.is_set():  # nobody waits for it: what is told as not begun must not begin
                hang_up(channel)
            else:
                channel.exec_command(line)
            return channel

        def give_up() -> None:
            given_up.set()
            for channel in opened:
                hang_up(channel)

        open_timeout_s = min(timeout_s or _OPEN_LIMIT_S, _OPEN_LIMIT_S)
        try:
            channel = call_in_thread(begin, timeout_s=open_timeout_s, watch=self.watch, give_up=give_up)
        except (SSHException, EOFError, OSError, AttributeError) as problem:
            raise self.lost(f"{self.machine} no longer answers: {self._cause(problem)}") from problem
        try:
            yield channel
        except (SSHException, EOFError) as problem:
            raise self.lost(f"the connection to {self.machine} broke: {self._cause(problem)}") from problem
        finally:
            hang_up(channel)

    def _cause(self, problem: Exception) -> str:
        """Return why the connection is no more: what ended it, where that is known, before what came of that."""
        transport = self.connection.transport
        ended = None if transport is None or transport.is_active() else transport.saved_exception
        return str(ended or problem) or "it was closed"  # an EOFError has no text

    def query(self, command: Command, *, stdin: bytes = b"", timeout_s: float | None = None) -> str:
        """Return what a small command prints; no event tells of it.

        :param timeout_s: how long it may take; :data:`QUERY_LIMIT_S` by default.
        :raise CommandFailed: it ended with another status than 0, or printed more than :data:`QUERY_BYTES`.
        :raise ConnectionLost: it did not end within its limit.
        """
        shown = f"`{short(display(command))}`"
        deadline = Deadline.after(timeout_s or QUERY_LIMIT_S)
        with self.started(self.line(CommandSpec(command=command)), timeout_s=deadline.timeout_s) as channel:
            outcome = self._see_out(channel, shown, stdin=stdin, deadline=deadline)
        if outcome.status:
            message, details = _complaint(outcome, f"{shown} on {self.machine} failed")
            raise CommandFailed(message, details=details)
        if outcome.stdout.truncated:
            raise CommandFailed(f"{shown} on {self.machine} printed more than {QUERY_BYTES >> 20} MiB")
        return outcome.stdout.text()

    def conclude(self, channel: Channel, action: str, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """See one end of a transfer out, whose input has been sent.

        :param action: what was to be done, as in "cannot ACTION".
        :param meanwhile: called a few times a second.
        :raise CommandFailed: it found nothing to work with.
        :raise TestFailed: it failed otherwise: its disk is full, its tar is another.
        """
        outcome = self._see_out(channel, action, meanwhile=meanwhile)
        if outcome.status:
            error = CommandFailed if outcome.status == NO_INPUT else TestFailed
            if error is TestFailed:
                self._look()  # a host without room may be why
            message, details = _complaint(outcome, f"cannot {action} on {self.machine}")
            raise error(message, details=details)

    def end_group(self, group: int) -> bool:
        """End a command and all its children, kindly at first; return whether the machine did so.

        :param group: its process group; 0: it never told, and there is nothing to end.
        """
        if not group:
            return True
        # Without `--` before the group: dash's kill does not know it.
        tenths = int(TERM_GRACE_S * 10)
        script = (
            f"kill -TERM -{group} 2>/dev/null; i=0; "
            f"while kill -0 -{group} 2>/dev/null && [ $i -lt {tenths} ]; do sleep 0.1; i=$((i+1)); done; "
            f"kill -KILL -{group} 2>/dev/null; :"
        )
        # The time limit is the news; a machine beyond reach, or one without memory for a shell, ends anyway.
        with suppress(InfrastructureError, TestFailed, OSError):
            self.query(script, timeout_s=END_LIMIT_S)
            return True
        return False

    def _see_out(
        self,
        channel: Channel,
        action: str,
        *,
        stdin: bytes = b"",
        deadline: Deadline = _NEVER,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> ChannelResult:
        def watch() -> None:
            self.watch(0.0)
            meanwhile()

        outcome = follow(
            channel, self.machine, action, deadline=deadline, watch=watch, stdin=stdin,
            quiet=True, keep_bytes=QUERY_BYTES, secrets=tuple(self.secrets),
        )  # fmt: skip
        if outcome.timed_out:
            raise ConnectionLost(f"{self.machine} did not answer {action} within {deadline.timeout_s:g} s")
        if outcome.status is None:
            raise self.lost(f"the connection to {self.machine} broke in the middle of: {action}")
        return outcome


def _complaint(outcome: ChannelResult, message: str) -> tuple[str, tuple[str, ...]]:
    """Return the sentence of an error, and its details: the end of what the command printed."""
    last = tuple(outcome.stderr.text().strip().splitlines()[-10:])
    return f"{message}: {last[0] if last else f'status {outcome.status}'}", last
