"""The guest's verbs: short words, each of which does one thing and reports what it saw when it could not."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Unpack

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import (
    CommandFailed,
    TimedOut,
    UsageError,
)
from vmtasks.guest.commands import WaitOptions
from vmtasks.guest.console import HasConsole
from vmtasks.guest.power import Power
from vmtasks.guest.through_reboots import CommandsThroughReboots
from vmtasks.ssh.command import Command, CommandSpec, display, short

if TYPE_CHECKING:
    from fabric import Connection

    from vmtasks.guest.allowance import Allowance
    from vmtasks.guest.boot_loader import BootLoader
    from vmtasks.guest.profiled import Sampling
    from vmtasks.guest.transfer_disk import TransferDisk
    from vmtasks.profile.profile import Profile
    from vmtasks.spec import Checkpoint, FrozenMachine
    from vmtasks.ssh.connect import Address
    from vmtasks.ssh.session import Session

_POLL_S = 0.25
_NO_POWER = Power()


class Guest(CommandsThroughReboots, HasConsole):
    """A machine that answers, and everything that one can do with it.

    :param session: the connection to it.
    :param ssh_command: the argument vector of an ordinary ssh into the guest.
    :param address: where the connection goes; None: only ssh's own configuration knows.
    :param console_log: the file that receives the serial console, if there is one.
    :param transfer_disk: the disk through which files travel; None: they go over the connection.
    :param sampling: samples what its machine takes of its host; None: nobody can.
    :param save: makes a checkpoint of a name and a key; None: no such machine can.
    :param freeze: saves it as it failed, and which command did, if one is known; None: no such machine can.
    :param log_dir: the directory that receives each command's output; None keeps no logs.
    :param is_local: whether this host runs it, and is its way to everything else.
    :param power: the hand on its power switch.
    """

    def __init__(
        self,
        session: Session,
        *,
        ssh_command: Sequence[str] = (),
        address: Address | None = None,
        console_log: Path | None = None,
        transfer_disk: TransferDisk | None = None,
        sampling: Sampling | None = None,
        save: Callable[[str, str], Checkpoint] | None = None,
        freeze: Callable[[CommandSpec | None], FrozenMachine] | None = None,
        log_dir: Path | None = None,
        heartbeat_s: float = 60.0,
        is_local: bool = False,
        power: Power = _NO_POWER,
    ) -> None:
        from vmtasks.guest.transfer import Transfer

        super().__init__(session, log_dir=log_dir, heartbeat_s=heartbeat_s)
        self._power = power
        self.ssh_command = tuple(ssh_command)
        self.address = address
        self.console_log = console_log
        self.is_local = is_local
        self._sampling = sampling
        self._profiles = count(1)
        self._save = save
        self._freeze = freeze
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

    @property
    def programs(self) -> tuple[str, ...]:
        """Directories in which commands find programs before all others."""
        return self._session.programs

    def find_programs_in(self, directory: str) -> None:
        """Have commands find the programs of a directory before all others."""
        self._session.programs = (directory, *(one for one in self.programs if one != directory))

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

    def _transfer_limit_s(self, timeout_s: float | None) -> float | None:
        return self.timeout_s if timeout_s is None else timeout_s

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
        from vmtasks.guest.tar_commands import quoted_glob

        words = " ".join(map(quoted_glob, patterns))
        listed = self.query(f'for f in {words}; do [ -e "$f" ] && printf \'%s\\n\' "$f"; done; :')
        wanted = [pattern.replace("[^", "[!") for pattern in patterns]  # the shell's other way to write it
        return sorted({path for path in listed.splitlines() if any(map(PurePosixPath(path).match, wanted))})

    @property
    def boot_loader(self) -> BootLoader:
        """Its boot loader, for another kernel or other arguments at the next boot.

        :raise UsageError: it has none, or one of another kind than GRUB 2.
        """
        from vmtasks.guest.boot_loader import BootLoader

        return BootLoader(self)

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
        from vmtasks.guest.units import journal_of

        script = (
            f"state=$(systemctl is-active {shlex.quote(unit)}); echo $state; [ $state = active ] || [ $state = failed ]"
        )
        if "failed" in self.wait_until_succeeds(script, timeout_s=timeout_s):
            journal = journal_of(self.query, unit)
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

    def cpu_count(self) -> int:
        """Return the number of processors that are online."""
        from vmtasks.guest.answers import number_of

        return int(number_of(self.query(["nproc", "--all"]), of="nproc"))

    def profiled(self, *, interval_s: float = 0.5) -> AbstractContextManager[Profile]:
        """Count what the machine takes of its host while the block runs: processor time, memory, traffic, page faults.

        Where the guest has a directory for logs, samples, a table and a picture go there: ``NAME-profile.jsonl``,
        ``.txt`` and ``.svg``. What the host cannot count is "not supported", with the reason; so is all of a machine
        whose QEMU is none of ours. Profiles may overlap.

        :param interval_s: how often to take a sample, in seconds.
        """
        from vmtasks.guest.profiled import profiled

        number = next(self._profiles)
        name = f"{self.name}-profile{f'-{number}' if number > 1 else ''}"
        return profiled(self._session, self._sampling, self._log_dir and self._log_dir / name, interval_s)

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

    def freeze(self) -> FrozenMachine:
        """Save the machine as it failed, for `reopen`; it goes on.

        :raise UsageError: it was not booted with ``forkable=True``, or no machine of its kind can.
        :raise HostError: the disk is full, or QEMU could not; the machine goes on all the same.
        """
        if self._freeze is None:
            raise UsageError(f"cannot freeze {self.name}: machines of its kind cannot be saved as they run")
        return self._freeze(self.failed_command)

    def close(self) -> None:
        """Close the connection; the machine goes on."""
        self._session.close()
