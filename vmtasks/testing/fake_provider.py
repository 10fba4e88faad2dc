"""Machines that are none, to test a recipe's decisions with: real verbs over real ssh, and the commands run here.

There is no isolation: what a recipe runs, this host runs, as the user who called (nobody if that is root), also where
it asks for another one. A machine's own is its home directory, in which commands start and which relative paths lie
below; it is empty at first and goes in the end. Reboots, resets and halts are its own as well. What must not happen
here has another line of shell run in its place::

    with use_provider(FakeProvider(instead={"apt-get *": ":", "make check": "echo no; exit 2"})):
        ...
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from vmtasks.deadline import Deadline
from vmtasks.errors import UsageError
from vmtasks.guest import Guest
from vmtasks.guest.announce import announce
from vmtasks.image.definition import find
from vmtasks.process.threads import check_interrupted
from vmtasks.providers.base import MachineRequest
from vmtasks.spec import LOCAL, Checkpoint
from vmtasks.ssh.command import CommandSpec, display
from vmtasks.ssh.session import Session
from vmtasks.testing.fake_power import FakePower, fake_power
from vmtasks.testing.fake_sshd import FakeSshd


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeCheckpoint:
    """The home directory of a machine as it was; it goes with the process that made it."""

    name: str
    home: Path
    on: str = "fake"

    @classmethod
    def of(cls, home: Path, name: str) -> FakeCheckpoint:
        """Copy a machine's home directory."""
        copy = Path(tempfile.mkdtemp(prefix="vmtasks-fake-"))
        atexit.register(shutil.rmtree, copy, ignore_errors=True)
        _fill(copy, home)
        return cls(name=name, home=copy)

    def drop(self) -> bool:
        """Remove it."""
        shutil.rmtree(self.home)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeProvider:
    """Has a machine for every request."""

    instead: Mapping[str, str] = field(default_factory=dict)
    """Patterns of commands, as they are shown and as fnmatch has them, and what is run in the place of each; the first
    that matches counts."""
    can_fork: bool = True
    """Whether checkpoints can be made."""

    @contextmanager
    def machine(self, request: MachineRequest) -> Iterator[Guest]:
        """Yield the guest of a machine that is none; see :class:`vmtasks.providers.base.Provider`."""
        image, options = request.image, request.options
        if isinstance(image, str):
            if image:  # without one, it plays an existing host
                find(image)
        elif not isinstance(image, FakeCheckpoint):
            raise UsageError(f"cannot start from {image.name}: it is no checkpoint of the fake's")
        name = request.name
        with ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmtasks-fake-")))
            if user := "" if os.getuid() else "nobody":
                shutil.chown(home, user)
            if isinstance(image, FakeCheckpoint):
                _fill(home, image.home)
            sshd = stack.enter_context(closing(FakeSshd(home, user)))
            power = stack.enter_context(fake_power(sshd, user))
            session = stack.enter_context(closing(_Session(name, power, self.instead)))

            def save(checkpoint: str, _: str) -> Checkpoint:
                if not options.forkable:
                    raise UsageError(f"cannot checkpoint {name}: it was not booted with forkable=True")
                return FakeCheckpoint.of(home, checkpoint)

            guest = Guest(session, save=save if self.can_fork else None, log_dir=request.log_dir, power=power.hand())
            announce(
                guest,
                image=image if isinstance(image, str) else image.name,
                accelerator="none",
                accelerator_reason="a fake",
                start="cold" if isinstance(image, str) else "fork",
                start_reason="",
                host=LOCAL,
            )
            yield guest

    def command_line(self, request: MachineRequest) -> tuple[str, ...]:
        """Refuse: no command line starts such a machine.

        :raise UsageError: always.
        """
        raise UsageError(f"cannot print the command line of {request.name}: it is a fake")


class _Session(Session):
    def __init__(self, machine: str, power: FakePower, instead: Mapping[str, str]) -> None:
        super().__init__(machine, power.connect(Deadline.after(None)), power.connect, _watch)
        self._power = power
        self._instead = instead

    def line(self, spec: CommandSpec) -> str:
        shown = display(spec.command)
        command, env = self._power.command(spec.command), {**self._power.environment(), **spec.env}
        for pattern, line in self._instead.items():
            if fnmatchcase(shown, pattern):
                command, spec = line, replace(spec, cwd="")
                break
        # Another user and no network both take a root's rights, which nothing has here.
        return super().line(replace(spec, command=command, env=env, user="root", offline=False))


def _watch(wait_s: float) -> None:
    check_interrupted()
    threading.Event().wait(wait_s)


def _fill(target: Path, source: Path) -> None:
    subprocess.run(["cp", "--archive", f"{source}/.", target], check=True)  # which keeps the owners
