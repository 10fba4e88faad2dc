"""A testbed, as autopkgtest has it: one clean machine after another, with a directory for autopkgtest in each."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from vmtasks.errors import UsageError
from vmtasks.frameworks.autopkgtest.connection import SharedConnection, shared_connection
from vmtasks.frameworks.autopkgtest.shell import variables
from vmtasks.guest import Guest
from vmtasks.guest.answers import at_least
from vmtasks.process.host_commands import HostCommands
from vmtasks.ssh.command import CommandSpec

_USER = "builder"
_SAVED = "/var/cache/autopkgtest-scratch.tar"
"""Where the scratch space is while the machine reboots: /tmp is emptied by that."""
_REBOOT_PREPARED = "/run/autopkgtest-reboot-prepare-mark"
"""Removing it tells autopkgtest-reboot-prepare in the guest that it may go on, and reboot."""

Machines = Callable[[], AbstractContextManager[Guest]]
"""Returns the next clean machine."""


class Testbed:
    """What autopkgtest's virtualisation server stands for; see README.virtualisation-server of autopkgtest.

    :param machines: what each open takes its machine from, in their order.
    :param host: runs the ssh client.
    :param reverts: whether each machine is a clean one.
    :param look: opens a shell for a person, in a directory of the guest and with additions to its environment.
    :param copied: called with each file or directory of the host's that the guest has now, and where.
    """

    __test__ = False  # not a test class, whatever pytest makes of the name

    def __init__(
        self,
        machines: Iterator[Machines],
        host: HostCommands,
        *,
        reverts: bool = True,
        look: Callable[[Guest, str, Sequence[str]], None] | None = None,
        copied: Callable[[Guest, Path, str], None] = lambda _guest, _source, _target: None,
    ) -> None:
        self._machines = machines
        self._host = host
        self._reverts = reverts
        self._look = look
        self._copied = copied
        self._machine = ExitStack()
        self._guest: Guest | None = None
        self._connection: SharedConnection | None = None
        self._scratch = ""
        """The same in each machine: a tree that was built in one may know its own path."""
        self._has_user = False

    @property
    def is_open(self) -> bool:
        """Whether there is a machine."""
        return self._guest is not None

    @property
    def guest(self) -> Guest:
        """The machine that there is; a UsageError if there is none."""
        if self._guest is None:
            raise UsageError("cannot do that: the testbed is not open")
        return self._guest

    @property
    def execute_command(self) -> tuple[str, ...]:
        """The argument vector that runs a command in the guest."""
        if self._connection is None:
            raise UsageError("cannot run commands: the testbed is not open")
        return self._connection.execute_command

    def capabilities(self) -> list[str]:
        """Return what this testbed can do, in autopkgtest's words."""
        words = ["isolation-machine", "root-on-testbed"]
        if self._reverts:
            words += ["revert", "revert-full-system", "reboot"]
        if self._has_user:
            words.append(f"suggested-normal-user={_USER}")
        return words

    def open(self) -> str:
        """Take a clean machine, and return autopkgtest's directory in it."""
        with ExitStack() as stack:
            guest = stack.enter_context(next(self._machines)())
            self._connection = stack.enter_context(shared_connection(guest.ssh_command, self._host))
            template = shlex.quote(self._scratch) if self._scratch else "$(mktemp -d -u /tmp/autopkgtest.XXXXXX)"
            script = f"d={template}; mkdir -p -m 1777 $d && echo $d; id -u {_USER} 2>/dev/null || :"
            self._scratch, *user = at_least(guest.query(script).split(), 1, of="mktemp")
            self._has_user = bool(user)
            self._guest = guest
            self._machine = stack.pop_all()
        return self._scratch

    def revert(self) -> str:
        """Take another clean machine instead, and return autopkgtest's directory in it."""
        self.close()
        return self.open()

    def close(self) -> None:
        """End the machine, if there is one."""
        self._guest = self._connection = None
        with self._machine:  # however that ends, there is none any more
            self._machine = ExitStack()

    def reboot(self, *, by_itself: bool = False) -> None:
        """Reboot the machine; autopkgtest's directory stays as it is.

        :param by_itself: wait until a test that runs there does it.
        """
        guest, connection = self.guest, self._connection
        save = f"tar -C / -cf {_SAVED} .{shlex.quote(self._scratch)}"
        with guest.rebooting() as ask:
            guest.query(f"{save} && rm -f {_REBOOT_PREPARED}")
            if not by_itself:
                ask()
        if connection is not None:
            connection.open()
        guest.query(f"tar -C / -xpf {_SAVED} && rm -f {_SAVED}")

    def copy_down(self, source: str, target: str) -> None:
        """Copy a file of the host's, or a directory's content (both names end in a slash), into the guest."""
        self.guest.files.put(Path(source), target.rstrip("/"), None, None)
        self._copied(self.guest, Path(source), target)

    def copy_up(self, source: str, target: str) -> None:
        """Copy a file of the guest's, or a directory's content (both names end in a slash), to the host."""
        path = Path(target)
        if target.endswith("/"):
            path.mkdir(exist_ok=True)
        self.guest.files.get(source.rstrip("/"), path)

    def shell(self, directory: str, environment: Sequence[str]) -> bool:
        """Give a person a shell in the guest, and return whether that was possible."""
        if self._look is None:
            return False
        self.guest.failed_command = CommandSpec(command="", cwd=directory, env=variables(environment))
        self._look(self.guest, directory, environment)
        return True
