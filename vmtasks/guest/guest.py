"""The guest's verbs: short words, each of which does one thing and reports what it saw when it could not."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Unpack

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import (
    CommandFailed,
    ConnectionLost,
    GuestLost,
    InfrastructureError,
    TimedOut,
    UsageError,
)
from vmtasks.guest import units
from vmtasks.guest.allowance import Allowance
from vmtasks.guest.commands import GuestCommands, WaitOptions
from vmtasks.guest.console import HasConsole
from vmtasks.guest.tar_commands import quoted_glob
from vmtasks.guest.transfer import LIMIT_S, Transfer
from vmtasks.guest.transfer_disk import TransferDisk
from vmtasks.ssh.command import Command, display, short
from vmtasks.ssh.session import Session

if TYPE_CHECKING:
    from fabric import Connection

    from vmtasks.spec import Checkpoint
    from vmtasks.ssh.connect import Address

_POLL_S = 0.25
_SIGN_OF_LIFE_S = 5.0
"""A guest that runs nothing for that long counts as down, until it proves otherwise."""


class Guest(GuestCommands, HasConsole):
    """A machine that answers, and everything that one can do with it.

    :param session: the connection to it.
    :param ssh_command: the argument vector of an ordinary ssh into the guest.
    :param address: where the connection goes; None: only ssh's own configuration knows.
    :param console_log: the file that receives the serial console, if there is one.
    :param transfer_disk: the disk through which files travel; None: they go over the connection.
    :param save: makes a checkpoint of a name and a key; None: no such machine can.
    :param log_dir: the directory that receives each command's output; None keeps no logs.
    :param is_local: whether this host runs it, and is its way to everything else.
    """

    def __init__(
        self,
        session: Session,
        *,
        ssh_command: Sequence[str] = (),
        address: Address | None = None,
        console_log: Path | None = None,
        transfer_disk: TransferDisk | None = None,
        save: Callable[[str, str], Checkpoint] | None = None,
        log_dir: Path | None = None,
        heartbeat_s: float = 60.0,
        is_local: bool = False,
    ) -> None:
        super().__init__(session, log_dir=log_dir, heartbeat_s=heartbeat_s)
        self.ssh_command = tuple(ssh_command)
        self.address = address
        self.console_log = console_log
        self.is_local = is_local
        self._save = save
        self._files = Transfer(session=session, transfer_disk=transfer_disk)
        self.files = replace(self._files, is_shown=False)
        """Sends and receives as ``put`` and ``get`` do, without making it part of the story: no events."""

    @property
    def connection(self) -> Connection:
        """The fabric Connection; for what the verbs do not offer."""
        return self._session.connection

    def watch(self, wait_s: float) -> None:
        """Wait *wait_s* seconds for news of the machine, or less if there are some; raise if they are bad."""
        self._session.watch(wait_s)

    def wait_only_while(self, check: Callable[[], None]) -> None:
        """Have every wait for the machine call *check*, which raises when nothing needs the machine any more."""
        self._session.check = check

    # --- files ------------------------------------------------------------------------------------------------

    def put(
        self,
        local: Path | str,
        remote: str,
        *,
        files: Iterable[Path] | None = None,
        mtime_s: int | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Send a file, a tree or what a glob matches.

        A directory's content goes to *remote*. A file becomes *remote*, or goes into it if it ends in a slash.
        What a glob matches goes into *remote*. Modes and links are kept; everything belongs to root.

        :param files: only these, relative to *local*, a directory.
        :param mtime_s: give all of them this time, in seconds since the epoch, and modes that only tell
            programs from data: for builds that must not depend on the checkout.
        :param timeout_s: how long it may take; by default as long as a command may, or an hour. 0 is no limit.
        :raise UsageError: there is no such file.
        :raise TimedOut: it took longer.
        """
        self._files.put(local, remote, files, mtime_s, self._transfer_limit_s(timeout_s))

    def get(self, remote: str, local: Path | str, *, timeout_s: float | None = None) -> list[Path]:
        """Bring a file, a tree or what a glob matches out of the guest, and return the paths that were made.

        A directory's content goes to *local*. A file becomes *local*, or goes into it if it ends in a slash
        or is a directory. What a glob matches goes into *local*. Whatever the guest sends stays below there.

        :param timeout_s: how long it may take; by default as long as a command may, or an hour. 0 is no limit.
        :raise CommandFailed: there is no such file.
        :raise TestFailed: it is more than the guest, or all of the run's, may send.
        :raise TimedOut: it took longer.
        """
        return self._files.get(remote, local, self._transfer_limit_s(timeout_s))

    def _transfer_limit_s(self, timeout_s: float | None) -> float:
        return next((one for one in (timeout_s, self.timeout_s) if one is not None), LIMIT_S)

    def share(self, allowance: Allowance) -> None:
        """Have what comes out of this guest count with what comes out of others."""
        self._files = replace(self._files, allowance=allowance)
        self.files = replace(self._files, is_shown=False)

    def get_any(self, pattern: str, local: Path | str) -> list[Path]:
        """Bring what a glob matches out of the guest, whatever its names are; nothing if nothing matches."""
        with suppress(CommandFailed):
            return self.get(pattern, local)
        return []

    def glob(self, *patterns: str) -> list[str]:
        """Return the guest's paths that match one of *patterns*, sorted; none else, whatever the guest prints."""
        words = " ".join(map(quoted_glob, patterns))
        listed = self.query(f'for f in {words}; do [ -e "$f" ] && printf \'%s\\n\' "$f"; done; :')
        wanted = [pattern.replace("[^", "[!") for pattern in patterns]  # the shell's other way to write it
        return sorted({path for path in listed.splitlines() if any(map(PurePosixPath(path).match, wanted))})

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

    def wait_until_succeeds(self, command: Command, *, timeout_s: float = 60.0, **options: Unpack[WaitOptions]) -> str:
        """Repeat a command until it ends with status 0, and return its standard output; the tries are not shown.

        :raise TimedOut: it did not within *timeout_s* seconds; the last try reports what it saw.
        """
        deadline = Deadline.after(timeout_s)
        with events.phase("wait", machine=self.name, detail=short(display(command))):
            while (
                result := self.run(command, warn=True, hide=True, timeout_s=max(deadline.left_s, 1.0), **options)
            ).failed:
                if deadline.passed:
                    raise TimedOut(
                        f"`{short(result.command)}` on {self.name} did not succeed within {timeout_s:g} s; "
                        f"the last try ended with status {result.exited}",
                        details=result.last_lines(),
                    )
                self.watch(deadline.within(_POLL_S))
        return result.stdout

    def wait_for_unit(self, unit: str, *, timeout_s: float = 60.0) -> None:
        """Wait until a systemd unit is active.

        :raise CommandFailed: it has failed.
        :raise TimedOut: it is not active within *timeout_s* seconds.
        """
        script = (
            f"state=$(systemctl is-active {shlex.quote(unit)}); echo $state; [ $state = active ] || [ $state = failed ]"
        )
        if "failed" in self.wait_until_succeeds(script, timeout_s=timeout_s):
            journal = units.journal_of(self.query, unit)
            raise CommandFailed(": ".join([f"unit {unit} on {self.name} has failed", *journal[-1:]]), details=journal)

    def wait_for_port(self, port: int, *, timeout_s: float = 60.0) -> None:
        """Wait until something in the guest listens on a TCP port.

        :raise TimedOut: nothing does within *timeout_s* seconds.
        """
        self.wait_until_succeeds(f"ss --no-header --listening --tcp 'sport = :{port}' | grep -q .", timeout_s=timeout_s)

    def wait_for_file(self, path: str, *, timeout_s: float = 60.0) -> None:
        """Wait until a file is there.

        :raise TimedOut: it is not within *timeout_s* seconds.
        """
        self.wait_until_succeeds(["test", "-e", path], timeout_s=timeout_s)

    # --- the machine ------------------------------------------------------------------------------------------

    def is_up(self) -> bool:
        """Tell whether the guest runs a command."""
        try:
            return self.run(["true"], warn=True, hide=True, timeout_s=_SIGN_OF_LIFE_S).ok
        except (InfrastructureError, GuestLost, TimedOut):
            return False

    def wait_up(self, *, timeout_s: float = 300.0) -> None:
        """Wait until the guest lets us in, over a new connection.

        :raise BootError: it does not within *timeout_s* seconds.
        """
        self._session.renew(Deadline.after(timeout_s))

    def wait_down(self, *, timeout_s: float = 120.0) -> None:
        """Wait until the connection to the guest is gone.

        :raise TimedOut: it still answers after *timeout_s* seconds.
        """
        deadline = Deadline.after(timeout_s)
        transport = self.connection.transport
        while transport.is_active() and self.is_up():
            if deadline.passed:
                raise TimedOut(f"{self.name} is still up after {timeout_s:g} s")
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
                self.run(["systemctl", "--no-block", "reboot"], warn=True)

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
        return self._save is not None

    def checkpoint(self, name: str, key: str = "") -> Checkpoint:
        """Save the machine as it is, commands that run in it and all, and let it go on.

        Any number of machines start from there with ``boot(checkpoint)``.

        :param name: what to call it in output.
        :param key: what later runs find it by, on the same image and form of machine; nothing does without.
        :raise UsageError: the machine was not booted with ``forkable=True``, or cannot fork wherever it runs.
        :raise HostError: the disk is full, or QEMU could not; the machine goes on all the same.
        """
        if self._save is None:
            raise UsageError(f"cannot checkpoint {self.name}: machines of its kind cannot")
        return self._save(name, key)

    def close(self) -> None:
        """Close the connection; the machine goes on."""
        self._session.close()
