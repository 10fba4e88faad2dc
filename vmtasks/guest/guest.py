"""The guest's verbs: short words, each of which does one thing and says what it saw when it could not."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import CommandFailed, ConnectionLost, GuestLost, InfrastructureError, TimeLimit, UsageError
from vmtasks.guest import units
from vmtasks.guest.told import told
from vmtasks.guest.transfer import Transfer, quoted_glob
from vmtasks.guest.transfer_disk import Exchange
from vmtasks.ssh import secret
from vmtasks.ssh.channel import follow
from vmtasks.ssh.command import Command, Result, display, sh, short
from vmtasks.ssh.session import Session

if TYPE_CHECKING:
    from fabric import Connection

    from vmtasks.spec import Checkpoint

_POLL_S = 0.25
_SIGN_OF_LIFE_S = 5.0
"""A guest that runs nothing for that long counts as down, until it proves otherwise."""


class Guest:
    """A machine that answers, and everything that one can do with it.

    :param session: the connection to it.
    :param exchange: the disk through which files travel; None: they go over the connection.
    :param freeze: makes a checkpoint of a name and a key.
    :param logs: the directory that receives each command's output; None keeps no logs.
    :param is_here: whether this host runs it, and is its way to everything else.
    :param facts: what is known of the machine, for who needs more than the verbs.
    """

    def __init__(
        self,
        session: Session,
        *,
        exchange: Exchange | None = None,
        freeze: Callable[[str, str], Checkpoint] | None = None,
        logs: Path | None = None,
        heartbeat_s: float = 60.0,
        is_here: bool = False,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = session.machine
        self.facts: Mapping[str, Any] = facts or {}
        self.is_here = is_here
        self.limit_s: float | None = None
        """How long each command may take, in seconds, where it is not given a limit of its own."""
        self.heartbeat_s = heartbeat_s
        """After how many seconds of silence a command gives a sign of life."""
        self._logs = logs
        self._count = 0
        self._freeze = freeze
        self._session = session
        self._files = Transfer(session=session, exchange=exchange)
        self.files = replace(self._files, is_shown=False)
        """Sends and receives as ``put`` and ``get`` do, without making it part of the story: no events."""

    @property
    def connection(self) -> Connection:
        """The fabric Connection; for what the verbs do not offer."""
        return self._session.connection

    def watch(self, wait_s: float) -> None:
        """Wait *wait_s* seconds for news of the machine, or less if there are some; raise if they are bad."""
        self._session.watch(wait_s)

    # --- commands ---------------------------------------------------------------------------------------------

    def run(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str = "root",
        timeout_s: float | None = None,
        stdin: bytes = b"",
        env_from: Iterable[str] = (),
        offline: bool = False,
        check: bool = False,
    ) -> Result:
        """Run a command and return what came of it, whatever its exit status.

        :param command: an argument vector, or ``sh("a line for the shell")``.
        :param cwd: the directory to run in; the user's home by default.
        :param env: environment variables, over a clean environment.
        :param timeout_s: seconds after which the command is ended: SIGTERM to all of it, then SIGKILL; 0 is no limit.
        :param stdin: what the command reads; nothing by default.
        :param env_from: the names of variables of this host's environment that it gets too. Their values go in unseen,
            and whatever a command of this guest prints from then on has ``***`` in their place.
        :param offline: leave it no network but the loopback.
        :param check: whether another exit status than 0 is an error.
        :raise CommandFailed: *check*, and the exit status is not 0.
        :raise TimeLimit: the limit passed.
        :raise ConnectionLost: the machine is gone or no longer answers.
        :raise UsageError: a variable of *env_from* is not set.
        """
        timeout_s = self.limit_s if timeout_s is None else timeout_s
        log = self._next_log(display(command))
        with told(self.name, display(command), log) as ended:
            result = self._run(
                command, log=log, quiet=False, cwd=cwd, env=env, user=user, timeout_s=timeout_s, stdin=stdin,
                env_from=env_from, offline=offline,
            )  # fmt: skip
            ended(result.exit_status)
        if check and not result.ok:
            by = f"by signal {result.signal}" if result.signal else f"with status {result.exit_status}"
            raise CommandFailed(f"`{short(result.command)}` on {self.name} ended {by}", evidence=result.last_lines())
        return result

    def succeed(self, command: Command, **options: Any) -> str:  # noqa: ANN401 - those of run()
        """Run a command that must end with status 0, and return its standard output.

        :raise CommandFailed: it ended with another.
        """
        return self.run(command, check=True, **options).stdout

    def fail(self, command: Command, **options: Any) -> str:  # noqa: ANN401
        """Run a command that must not end with status 0, and return its standard output.

        :raise CommandFailed: it ended with 0.
        """
        result = self.run(command, **options)
        if result.ok:
            raise CommandFailed(
                f"`{short(result.command)}` on {self.name} was to fail, and did not", evidence=result.last_lines()
            )
        return result.stdout

    def query(self, command: Command, *, stdin: bytes = b"") -> str:
        """Return what a small command prints, without making it part of the story: no events, no log.

        :raise CommandFailed: it ended with another status than 0.
        """
        return self._session.query(command, stdin=stdin)

    def mask(self, secrets: Iterable[bytes]) -> None:
        """Have ``***`` stand for *secrets* in all that commands print from now on."""
        self._session.secrets.update(secrets)

    # --- files ------------------------------------------------------------------------------------------------

    def put(
        self, source: Path | str, target: str, *, files: Iterable[Path] | None = None, mtime_s: int | None = None
    ) -> None:
        """Send a file, a tree or what a glob matches.

        A directory's content goes to *target*. A file becomes *target*, or goes into it if it ends in a slash.
        What a glob matches goes into *target*. Modes and links are kept; everything belongs to root.

        :param files: only these, relative to *source*, a directory.
        :param mtime_s: give all of them this time, in seconds since the epoch, and modes that only tell
            programs from data: for builds that must not depend on the checkout.
        :raise UsageError: there is no such file.
        """
        self._files.put(source, target, files, mtime_s)

    def get(self, source: str, target: Path | str) -> list[Path]:
        """Bring a file, a tree or what a glob matches out of the guest, and return the paths that were made.

        A directory's content goes to *target*. A file becomes *target*, or goes into it if it ends in a slash
        or is a directory. What a glob matches goes into *target*. Whatever the guest sends stays below there.

        :raise CommandFailed: there is no such file.
        """
        return self._files.get(source, target)

    def get_any(self, pattern: str, target: Path | str) -> list[Path]:
        """Bring what a glob matches out of the guest, whatever its names are; nothing if nothing matches."""
        with suppress(CommandFailed):
            return self.get(pattern, target)
        return []

    def glob(self, pattern: str) -> list[str]:
        """Return the guest's paths that match *pattern*, sorted; none if there are none, whatever the guest says."""
        listed = self.query(sh(f'for f in {quoted_glob(pattern)}; do [ -e "$f" ] && printf \'%s\\n\' "$f"; done; :'))
        return sorted(path for path in listed.splitlines() if PurePosixPath(path).match(pattern))

    @contextmanager
    def tmp_dir(self) -> Iterator[str]:
        """Yield an empty directory in the guest that everybody may enter, removed at the end."""
        path = self.query(["mktemp", "--directory", "--tmpdir=/var/tmp"]).strip()
        self.query(["chmod", "0755", path])
        try:
            yield path
        finally:
            with suppress(InfrastructureError, GuestLost):  # a machine that is gone has taken it along
                self.query(["rm", "-rf", "--", path])

    # --- waiting ----------------------------------------------------------------------------------------------

    def wait_until_succeeds(self, command: Command, *, timeout_s: float = 60.0, **options: Any) -> str:  # noqa: ANN401
        """Repeat a command until it ends with status 0, and return its standard output; the tries are not shown.

        :raise TimeLimit: it did not within *timeout_s* seconds; the last try says what it saw.
        """
        deadline = Deadline.after(timeout_s)
        with events.phase("wait", machine=self.name, detail=short(display(command))):
            while not (result := self._run(command, timeout_s=max(deadline.left_s, 1.0), **options)).ok:
                if deadline.passed:
                    raise TimeLimit(
                        f"`{short(result.command)}` on {self.name} did not succeed within {timeout_s:g} s; "
                        f"the last try ended with status {result.exit_status}",
                        evidence=result.last_lines(),
                    )
                self.watch(deadline.within(_POLL_S))
        return result.stdout

    def wait_for_unit(self, unit: str, *, timeout_s: float = 60.0) -> None:
        """Wait until a systemd unit is active.

        :raise CommandFailed: it has failed.
        :raise TimeLimit: it is not active within *timeout_s* seconds.
        """
        script = (
            f"state=$(systemctl is-active {shlex.quote(unit)}); echo $state; [ $state = active ] || [ $state = failed ]"
        )
        if "failed" in self.wait_until_succeeds(sh(script), timeout_s=timeout_s):
            journal = units.journal_of(self.query, unit)
            raise CommandFailed(": ".join([f"unit {unit} on {self.name} has failed", *journal[-1:]]), evidence=journal)

    def wait_for_port(self, port: int, *, timeout_s: float = 60.0) -> None:
        """Wait until something in the guest listens on a TCP port.

        :raise TimeLimit: nothing does within *timeout_s* seconds.
        """
        self.wait_until_succeeds(
            sh(f"ss --no-header --listening --tcp 'sport = :{port}' | grep -q ."), timeout_s=timeout_s
        )

    def wait_for_file(self, path: str, *, timeout_s: float = 60.0) -> None:
        """Wait until a file is there.

        :raise TimeLimit: it is not within *timeout_s* seconds.
        """
        self.wait_until_succeeds(["test", "-e", path], timeout_s=timeout_s)

    # --- the machine ------------------------------------------------------------------------------------------

    def is_up(self) -> bool:
        """Tell whether the guest runs a command."""
        try:
            return self._run(["true"], timeout_s=_SIGN_OF_LIFE_S).ok
        except (InfrastructureError, GuestLost, TimeLimit):
            return False

    def wait_up(self, *, timeout_s: float = 300.0) -> None:
        """Wait until the guest lets us in, over a new connection.

        :raise BootError: it does not within *timeout_s* seconds.
        """
        self._session.renew(Deadline.after(timeout_s))

    def wait_down(self, *, timeout_s: float = 120.0) -> None:
        """Wait until the connection to the guest is gone.

        :raise TimeLimit: it still answers after *timeout_s* seconds.
        """
        deadline = Deadline.after(timeout_s)
        transport = self.connection.transport
        while transport.is_active() and self.is_up():
            if deadline.passed:
                raise TimeLimit(f"{self.name} is still up after {timeout_s:g} s")
            self.watch(deadline.within(_POLL_S))

    def boot_id(self) -> str:
        """Return the kernel's boot_id, which every boot makes anew (random(4))."""
        return self.query(["cat", "/proc/sys/kernel/random/boot_id"]).strip()

    def reboot(self, *, timeout_s: float = 300.0) -> None:
        """Reboot the guest and come back when it is another boot.

        :raise BootError: it did not come back within *timeout_s* seconds.
        """
        with self.rebooting(timeout_s=timeout_s) as ask:
            ask()

    @contextmanager
    def rebooting(self, *, timeout_s: float = 300.0) -> Iterator[Callable[[], None]]:
        """Come back, at the end of the block, when the guest is another boot; what is yielded asks it to reboot.

        :raise BootError: it did not come back within *timeout_s* seconds.
        """

        def ask() -> None:
            # --no-block: the answer comes before the network goes. A connection that breaks all the same is fine.
            with suppress(ConnectionLost, GuestLost):
                self.run(["systemctl", "--no-block", "reboot"])

        deadline = Deadline.after(timeout_s)
        before = self.boot_id()
        with events.phase("reboot", machine=self.name):
            yield ask
            while True:
                self.wait_down(timeout_s=max(deadline.left_s, 1.0))
                self.wait_up(timeout_s=max(deadline.left_s, 1.0))
                if self.boot_id() != before:
                    return

    def cpu_count(self) -> int:
        """Return the number of processors that are online."""
        return int(self.query(["nproc", "--all"]))

    @property
    def can_fork(self) -> bool:
        """Whether other machines can start from a checkpoint of this one, if it was booted with ``forkable=True``."""
        return self._freeze is not None

    def checkpoint(self, name: str, key: str = "") -> Checkpoint:
        """Freeze the machine as it is, commands that run in it and all, and let it go on.

        Any number of machines start from there with ``boot(checkpoint)``.

        :param name: what to call it in output.
        :param key: what later runs find it by, on the same image and form of machine; nothing does without.
        :raise UsageError: the machine was not booted with ``forkable=True``, or cannot fork wherever it runs.
        :raise HostError: the disk is full, or QEMU could not; the machine goes on all the same.
        """
        if self._freeze is None:
            raise UsageError(f"cannot freeze {self.name}: whoever runs it cannot do that")
        return self._freeze(name, key)

    def close(self) -> None:
        """Close the connection; the machine goes on."""
        self._session.close()

    # --- inside -----------------------------------------------------------------------------------------------

    def _next_log(self, shown: str) -> Path | None:
        if self._logs is None:
            return None
        self._count += 1
        slug = "".join(letter if letter.isalnum() else "-" for letter in shown[:40]).strip("-").lower()
        return self._logs / f"{self.name}-{self._count:02d}-{slug or 'command'}.log"

    def _run(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str = "root",
        timeout_s: float | None = None,
        stdin: bytes = b"",
        env_from: Iterable[str] = (),
        offline: bool = False,
        log: Path | None = None,
        quiet: bool = True,
    ) -> Result:
        """Run a command; nobody hears what a *quiet* one prints.

        :raise TimeLimit: the limit passed.
        :raise ConnectionLost: the machine is gone or no longer answers.
        """
        shown = display(command)
        began_s = time.monotonic()
        given = secret.values(env_from)
        self.mask(given.values())
        line = self._session.line(command, cwd=cwd, env=env or {}, user=user, env_from=given, offline=offline)
        with self._session.started(line, within_s=timeout_s) as ours:
            outcome = follow(
                ours, self.name, shown, deadline=Deadline.after(timeout_s), watch=lambda: self.watch(0.0),
                stdin=secret.sent(given) + stdin, heartbeat_s=self.heartbeat_s, log=log, quiet=quiet,
                secrets=tuple(self._session.secrets),
            )  # fmt: skip
            was_ended = outcome.timed_out and self._session.end_group(outcome.group)
        result = Result(
            machine=self.name,
            command=shown,
            exit_status=-1 if outcome.status is None else outcome.status,
            stdout=outcome.stdout.text(),
            stderr=outcome.stderr.text(),
            duration_s=time.monotonic() - began_s,
            truncated=outcome.stdout.truncated or outcome.stderr.truncated,
            log=log,
        )
        if outcome.timed_out:
            more = "" if was_ended else f", and {self.name} no longer answers"
            raise TimeLimit(
                f"`{short(shown)}` on {self.name} did not end within {timeout_s:g} s{more}",
                evidence=result.last_lines(),
            )
        if outcome.status is None:
            sentence = f"the connection to {self.name} broke while it ran `{short(shown)}`"
            raise self._session.lost(sentence, result.last_lines())
        return result
