"""The verbs that run a command in the guest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Never, TypedDict, Unpack

from vmtasks.errors import CommandFailed, GuestLost, InfrastructureError, TestFailed, TimedOut, renamed, renamed_options
from vmtasks.ssh.command import Command, CommandSpec, Result, display, short

if TYPE_CHECKING:
    from paramiko.channel import Channel

    from vmtasks.ssh.channel import Tap
    from vmtasks.ssh.session import Session

_OPPOSITE = "warn, its opposite"
"""What ``check`` is now, in the words of the warning."""


class WaitOptions(TypedDict, total=False):
    """The options of :meth:`GuestCommands.run` that waiting for a command's success takes as well."""

    cwd: str | None
    env: Mapping[str, str] | None
    user: str
    stdin: bytes
    env_from: Iterable[str]
    offline: bool


class RunOptions(WaitOptions, total=False):
    """The options of :meth:`GuestCommands.run` that its short forms take as well."""

    hide: bool
    timeout_s: float | None


class GuestCommands:
    """Runs commands in a guest.

    :param session: the connection to it.
    :param log_dir: the directory that receives each command's output; None keeps no logs.
    :param heartbeat_s: after how many seconds of silence a command gives a sign of life.
    """

    def __init__(self, session: Session, *, log_dir: Path | None, heartbeat_s: float) -> None:
        from vmtasks.guest.runner import CommandRunner

        self.name = session.machine
        self.timeout_s: float | None = None
        """How long each command may take, in seconds, where it is not given a limit of its own."""
        self.heartbeat_s = heartbeat_s
        self._session = session
        self._runner = CommandRunner(session)
        self._log_dir = log_dir
        self._count = 0
        self._cwd = ""
        self.failed_command: CommandSpec | None = None
        """The last command that was to succeed and did not, with all that it ran with but for its input."""

    @property
    def limit_s(self) -> float | None:
        """What *timeout_s* was called before 0.2."""
        renamed("guest.limit_s", "guest.timeout_s")
        return self.timeout_s

    @limit_s.setter
    def limit_s(self, value: float | None) -> None:
        renamed("guest.limit_s", "guest.timeout_s")
        self.timeout_s = value

    def run(
        self,
        command: Command,
        *,
        warn: bool = False,
        hide: bool = False,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str = "root",
        timeout_s: float | None = None,
        stdin: bytes = b"",
        env_from: Iterable[str] = (),
        offline: bool = False,
        tap: Tap | None = None,
        **renamed: Never,
    ) -> Result:
        """Run a command and return what came of it.

        ::

            guest.run("apt-get update && apt-get --yes dist-upgrade")
            if guest.run(["grep", "-q", name, "/etc/passwd"], warn=True).failed: ...

        :param command: a text is a line for /bin/sh; a list is an argument vector, which no shell reads: use it with
            words that come from elsewhere. Paths may stand in it.
        :param warn: whether another exit status than 0 is for the caller to judge, and no error.
        :param hide: run it without making it part of the story: no events, no log.
        :param cwd: the directory to run in; the one of :meth:`cd`, or the user's home, by default.
        :param env: environment variables, over a clean environment.
        :param timeout_s: seconds after which the command is ended: SIGTERM to all of it, then SIGKILL; 0 is no limit.
        :param stdin: what the command reads; nothing by default.
        :param env_from: the names of variables of this host's environment that it gets too. Their values go in unseen,
            and whatever a command of this guest prints from then on has ``***`` in their place.
        :param offline: leave it no network but the loopback.
        :param tap: sees each piece of standard output first and is handed what shows one: for a command whose output
            also carries what is not for people. What it raises ends the wait for the command.
        :param renamed: ``check``, the opposite of *warn*, of before 0.2.
        :raise CommandFailed: the exit status is not 0, and not *warn*; ``error.result`` has the result.
        :raise CommandTimedOut: the limit passed.
        :raise ConnectionLost: the machine is gone or no longer answers.
        :raise UsageError: a variable of *env_from* is not set, or *command* is empty, or neither a text nor a sequence
            of texts and paths.
        """
        warn = not renamed_options(renamed, {"check": _OPPOSITE}).get(_OPPOSITE, not warn)
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        spec = CommandSpec(
            command=command,
            cwd=cwd or self._cwd,
            env=env or {},
            user=user,
            timeout_s=timeout_s,
            stdin=stdin,
            env_from=tuple(dict.fromkeys(env_from)),
            offline=offline,
            tap=tap,
        )
        result = self._runner.run(spec) if hide else self._told(spec)
        return result if warn else self._expect_ok(result)

    def succeed(self, command: Command, **options: Unpack[RunOptions]) -> str:
        """Run a command that must end with status 0, and return its standard output.

        :raise CommandFailed: it ended with another.
        """
        return self.run(command, **options).stdout

    def fail(self, command: Command, **options: Unpack[RunOptions]) -> str:
        """Run a command that must not end with status 0, and return its standard output.

        :raise CommandFailed: it ended with 0.
        """
        result = self.run(command, warn=True, **options)
        if result.ok:
            self.blame(result)
            message = f"`{short(result.command)}` on {self.name} was to fail, and did not"
            raise CommandFailed(message, details=result.last_lines(), result=result)
        return result.stdout

    def blame(self, result: Result | None) -> None:
        """Remember a command of this machine as the one that failed, for `--shell` and `reopen`.

        What raises errors of commands does so by itself; this is for a status that the caller judges (*warn*).

        :param result: what came of it; None changes nothing.
        """
        if result is not None and result.machine == self.name and result.spec:
            self.failed_command = result.spec

    @contextmanager
    def cd(self, path: str) -> Iterator[None]:
        """Have the block's commands run in a directory, relative to the one of a block around it."""
        before, self._cwd = (
            self._cwd,
            str(PurePosixPath(self._cwd or "/", path)) if self._cwd or path.startswith("/") else path,
        )
        try:
            yield
        finally:
            self._cwd = before

    def query(self, command: Command, *, stdin: bytes = b"") -> str:
        """Return what a small command prints, without making it part of the story: no events, no log.

        :raise CommandFailed: it ended with another status than 0.
        """
        return self._session.query(command, stdin=stdin)

    @contextmanager
    def tmp_dir(self) -> Iterator[str]:
        """Yield an empty directory in the guest that everybody may enter, removed at the end."""
        path = self.query("d=$(mktemp --directory --tmpdir=/var/tmp) && chmod 0755 $d && echo $d").strip()
        try:
            yield path
        finally:
            with suppress(InfrastructureError, GuestLost):  # a machine that is gone has taken it along
                self.query(["rm", "-rf", "--", path])

    def mask(self, secrets: Iterable[bytes]) -> None:
        """Have ``***`` stand for *secrets* in all that commands print from now on."""
        self._session.secrets.update(secrets)

    @contextmanager
    def channel(self, command: Command) -> Iterator[Channel]:
        """Start a command of our own beside all others, and yield the channel that it talks over; no event tells of it.

        The first line that comes is the number of its process group.

        :raise ConnectionLost: the machine no longer answers, or stops to.
        """
        with self._session.started(self._session.line(CommandSpec(command=command))) as channel:
            yield channel

    # --- inside -----------------------------------------------------------------------------------------------

    def _expect_ok(self, result: Result) -> Result:
        if result.failed:
            self.blame(result)
            by = f"by signal {result.signal}" if result.signal else f"with status {result.exited}"
            message = f"`{short(result.command)}` on {self.name} ended {by}"
            raise CommandFailed(message, details=result.last_lines(), result=result)
        return result

    def _told(self, spec: CommandSpec) -> Result:
        """Run a command, and tell of it."""
        from vmtasks.guest.told import told

        shown = display(spec.command)
        log = self._next_log(shown)
        try:
            with told(self.name, shown, log) as ended:
                result = self._runner.run(spec, log=log, quiet=False, heartbeat_s=self.heartbeat_s)
                ended(result.exited)
        except (TestFailed, TimedOut) as problem:  # a limit has passed, or the tap has raised it
            if not isinstance(problem, GuestLost):
                self.failed_command = self._session.remembered(spec)
            raise
        return result

    def _next_log(self, shown: str) -> Path | None:
        if self._log_dir is None:
            return None
        self._count += 1
        slug = "".join(letter if letter.isalnum() else "-" for letter in shown[:40]).strip("-").lower()
        return self._log_dir / f"{self.name}-{self._count:02d}-{slug or 'command'}.log"
