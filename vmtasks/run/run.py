"""One call of a recipe: its machines, its test cases, its artifacts."""

from __future__ import annotations

import os
import shlex
import stat
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Never

from invoke.exceptions import Exit

from vmtasks import errors, events
from vmtasks.errors import (
    GuestLost,
    NothingTested,
    TestFailed,
    TestSkipped,
    TimedOut,
    UsageError,
    VmtasksError,
    message_of,
    outcome_of,
)
from vmtasks.run.artifacts import ArtifactStore
from vmtasks.run.options import accelerator, network
from vmtasks.run.stopwatch import stopwatch

if TYPE_CHECKING:
    from vmtasks.group.group import Group
    from vmtasks.group.roles import Role
    from vmtasks.guest import Guest
    from vmtasks.guest.allowance import Allowance
    from vmtasks.project import Project
    from vmtasks.project.settings import MachineSettings
    from vmtasks.providers.base import MachineRequest
    from vmtasks.providers.preparation import Preparation
    from vmtasks.spec import Checkpoint


@dataclass(kw_only=True)
class Run(ArtifactStore):
    """One call of a recipe: its options, its directory, and the machines, test cases and artifacts that it has."""

    recipe: str
    failed: dict[str, TestFailed] = field(default_factory=dict)
    console: Path | None = None
    nothing_tested: NothingTested | None = None
    """What the run ends with if nothing fails."""
    _look: threading.Lock = field(default_factory=threading.Lock)
    """A person looks at one machine at a time, however many fail at once."""
    _names: dict[str, Iterator[int]] = field(default_factory=dict)
    """The numbers of the next machines of each name."""

    @staticmethod
    def task_line(line: str) -> str:
        """Return the command line that runs a recipe here, as a hint quotes it: `inv` in a checkout, else `vmtasks`."""
        from vmtasks.config.here import task_line

        return task_line(line)

    def project(self, source: str, image: str = "") -> Project:
        """Load the project at *source*, with *image* over its own if one is given.

        A file (a tarball, a .dsc) has no settings of its own: the defaults and the environment hold.

        :raise UsageError: it is not there, or its vmtasks.toml is not right.
        """
        from vmtasks.config.paths import image_dirs, is_at
        from vmtasks.project import Images, Project

        path = Path(source or ".")
        project = Project.of_file(path) if is_at(path, stat.S_ISREG) else Project.load(path)
        if image:
            project = replace(project, images=Images.like(image, image_dirs()))
        return project

    @contextmanager
    def boot(
        self,
        image: str | Checkpoint,
        *,
        name: str = "",
        project: Project | None = None,
        prepare: Preparation | None = None,
        forkable: bool = False,
    ) -> Iterator[Guest]:
        """Start a clean machine for this run; see :func:`vmtasks.boot`.

        :param image: the name of an image, or a checkpoint.
        :param name: what to call it in output and logs.
        :param project: whose wishes for the machine count, where no flag overrides them, and whose secrets are kept out
            of all output.
        :param prepare: work that the machine is to have behind it; it is done once and then kept.
        :param forkable: whether ``guest.checkpoint`` is to serve.
        :raise UsageError: a variable that *project* wants of the host's environment is not set.
        """
        from vmtasks.providers.boot import command_line, machine
        from vmtasks.providers.preparation import prepare as do_prepare
        from vmtasks.ssh import secret

        secrets = secret.values(project.commands.env_from if project else ())
        request = self._request(image, name, project, prepare, forkable=forkable)
        if self.flags.dry_run and isinstance(image, str):
            sys.stdout.write(shlex.join(command_line(request)) + "\n")
            raise Exit(code=0)
        with machine(request) as guest:
            self.console = guest.console_log
            guest.mask(secrets.values())
            guest.timeout_s = project.commands.timeout_s if project else None
            guest.share(self._allowance)
            with self._debug_on_failure(guest):
                if prepare is not None:
                    do_prepare(guest, prepare)
                yield guest

    @cached_property
    def _allowance(self) -> Allowance:
        """What all machines of this run may bring out together."""
        from vmtasks.config.settings import HostSettings
        from vmtasks.guest.allowance import Allowance

        return Allowance(max_bytes=HostSettings.load().artifacts_mib << 20)

    def group(
        self,
        roles: Mapping[str, Role | str],
        *,
        wait_timeout_s: float = 900.0,
        timeout_s: float = 0.0,
        project: Project | None = None,
    ) -> AbstractContextManager[Group]:
        """Start a group of clean machines for this run, all at once; see :func:`vmtasks.boot_group`.

        :param roles: what each role is; the name of an image is one machine of it.
        :param wait_timeout_s: how long a message between them may be waited for, in seconds.
        :param timeout_s: after how many seconds the whole group ends; 0: never.
        :param project: as in :meth:`boot`.
        :raise UsageError: the group cannot be as it is asked for.
        """
        from vmtasks.run.group import group_in

        return group_in(
            roles,
            flags=self.flags,
            directory=self.directory,
            request=lambda name, role: self._request(role.image, name, project, role.prepare, forkable=role.forkable),
            debug=self.debug,
            allowance=self._allowance,
            wait_timeout_s=wait_timeout_s,
            timeout_s=timeout_s,
            project=project,
        )

    def _request(
        self,
        image: str | Checkpoint,
        name: str,
        project: Project | None,
        prepare: Preparation | None,
        *,
        forkable: bool,
    ) -> MachineRequest:
        """Return what is asked of a provider: flags go over the project's file."""
        from vmtasks.providers.base import BootOptions, MachineRequest

        flags = self.flags
        source = image if isinstance(image, str) else image.name
        options = BootOptions(
            name=self._name_for(name or source),
            on=flags.on or (project.machine.on if project else ""),
            kernel=flags.kernel if isinstance(image, str) else "",  # a checkpoint's has been chosen
            memory_mib=flags.memory_mib or (project.machine.memory_mib if project else None),
            cpus=flags.cpus or (project.machine.cpus if project else None),
            network=network(flags.network) or (project.machine.network if project else None),
            alarms=(project.machine if project else _machine_settings()).alarms,
            accel=accelerator(flags.accel),
            attempts=flags.attempts,
            cold=flags.cold,
            forkable=forkable,
        )
        return MachineRequest(
            image=image,
            options=options,
            preparation=prepare,
            purpose=f"{self.recipe} of {project.name if project else source}",
            log_dir=self.directory,
        )

    @contextmanager
    def _debug_on_failure(self, guest: Guest) -> Iterator[None]:
        try:
            yield
        except (TestFailed, TimedOut, UsageError) as problem:
            self.debug(guest, problem)
            raise

    @contextmanager
    def case(
        self,
        name: str,
        *,
        continue_on_error: bool = False,
        guest: Guest | None = None,
        **renamed: Never,
    ) -> Iterator[None]:
        """Run the block as a test case: a row of the report; ``TestSkipped`` ends it without a verdict.

        :param continue_on_error: go on after a failure, and fail at the run's end. Without it a failure ends the run
            here.
        :param guest: the machine that the case is about: it is shown where somebody asked for a look at failures, and
            its loss ends the run even so.
        :param renamed: ``goes_on``, which stood for both before 0.2.
        """
        if "goes_on" in renamed:
            was: object = renamed.pop("goes_on")
            errors.renamed("goes_on=", "continue_on_error=True, guest=", stacklevel=4)
            continue_on_error, guest = bool(was), None if isinstance(was, bool) else was
        errors.renamed_options(renamed, {})
        events.emit(events.CaseStarted(case=name))
        problem: BaseException | None = None
        try:
            with stopwatch() as watch:
                yield
        except TestSkipped as skipped:
            problem = skipped
        except TestFailed as failure:
            problem = failure
            self.failed[name] = failure
            if not continue_on_error or (isinstance(failure, GuestLost) and guest):
                raise
            events.emit(events.Note(text=f"{name}: {failure!s}", level="warning"))
            if guest:
                self.debug(guest, failure)
        except BaseException as other:
            problem = other
            raise
        finally:
            events.emit(
                events.CaseEnded(
                    case=name,
                    outcome="skipped" if isinstance(problem, TestSkipped) else outcome_of(problem),
                    duration_s=watch.seconds,
                    message=message_of(problem),
                    details=getattr(problem, "details", ()),
                )
            )

    def skip(self, name: str, reason: str) -> None:
        """Report a test case that was not run."""
        with self.case(name):
            raise TestSkipped(reason)

    def untested(self, message: str, *, details: tuple[str, ...] = (), hint: str = "") -> None:
        """Have the run end as one in which no test told anything, unless something fails."""
        self.nothing_tested = NothingTested(message, details=details, hint=hint)

    def debug(self, guest: Guest, problem: VmtasksError) -> None:
        """Give the user a look at the machine before it goes, where that was asked for."""
        from vmtasks.run.debug import keep_alive, open_shell

        with self._look:
            if self.flags.shell:
                open_shell(guest, problem)
            if self.flags.keep:
                keep_alive(guest, self.flags.keep_for_s)

    def _name_for(self, value: str) -> str:
        """Return a name that no other machine of this run has: its logs are called by it."""
        number = next(self._names.setdefault(value, count(1)))
        return value if number == 1 else f"{value}-{number}"


def _machine_settings() -> MachineSettings:
    """Return what holds for a machine of no project: what the environment says of alarms."""
    from vmtasks.config import toml
    from vmtasks.project.settings import MachineSettings

    names = ("VMTASKS_ALARMS",)
    return toml.override(MachineSettings(), {name: os.environ.get(name, "") for name in names})
