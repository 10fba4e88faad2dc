"""One call of a recipe: its machines, its test cases, its artifacts."""

from __future__ import annotations

import shlex
import stat
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
    from vmtasks.providers.base import MachineRequest
    from vmtasks.providers.choice import Choices
    from vmtasks.providers.preparation import Preparation
    from vmtasks.run.freeze import Freezer
    from vmtasks.spec import Checkpoint


def _no_choices() -> Choices:
    from vmtasks.providers.choice import Choices

    return Choices()


def _freezer() -> Freezer:
    from vmtasks.run.freeze import Freezer

    return Freezer()


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
    _freezer: Freezer = field(default_factory=_freezer)
    _names: dict[str, Iterator[int]] = field(default_factory=dict)
    """The numbers of the next machines of each name."""
    _choices: Choices = field(default_factory=_no_choices)
    """Where its machines are, where `--on` leaves a choice."""

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
        own_kernel: bool = False,
    ) -> Iterator[Guest]:
        """Start a clean machine for this run; see :func:`vmtasks.boot`.

        :param image: the name of an image, or a checkpoint.
        :param name: what to call it in output and logs.
        :param project: whose settings for the machine count, where no flag overrides them, and whose secrets are kept
            out of all output.
        :param prepare: work that the machine is to have behind it; it is done once and then kept.
        :param forkable: whether ``guest.checkpoint`` is to serve.
        :param own_kernel: boot with the image's own kernel, whatever ``--kernel`` says.
        :raise UsageError: a variable that *project* wants of the host's environment is not set.
        """
        from vmtasks.providers.boot import command_line, machine, settled
        from vmtasks.providers.preparation import prepare as do_prepare
        from vmtasks.ssh import secret

        secrets = secret.values(project.commands.env_from if project else ())
        asked = self._request(image, name, project, prepare, forkable=forkable, own_kernel=own_kernel)
        request = settled(asked, self._choices)
        if self.flags.dry_run and isinstance(image, str):
            sys.stdout.write(shlex.join(command_line(request)) + "\n")
            raise Exit(code=0)
        with machine(request) as guest:
            self.console = guest.console_log
            guest.mask(secrets.values())
            guest.timeout_s = project.commands.timeout_s if project else None
            guest.share(self._allowance)
            with self._debug_on_failure(guest), guest.profiled() if self.flags.profile else nullcontext():
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
            choices=self._choices,
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
        own_kernel: bool = False,
    ) -> MachineRequest:
        """Return what is asked of a provider: flags go over the project's file."""
        from vmtasks.project.settings import MachineSettings
        from vmtasks.providers.base import BootOptions, MachineRequest

        flags = self.flags
        source = (image if isinstance(image, str) else image.name) or name
        options = BootOptions(
            name=self._name_for(name or source),
            on=flags.on or (project.machine.on if project else ""),
            kernel=flags.kernel if isinstance(image, str) and not own_kernel else "",  # a checkpoint has its own
            memory_mib=flags.memory_mib or (project.machine.memory_mib if project else None),
            cpus=flags.cpus or (project.machine.cpus if project else None),
            network=network(flags.network) or (project.machine.network if project else None),
            alarms=(project.machine if project else MachineSettings.of_no_project()).alarms,
            accel=accelerator(flags.accel),
            attempts=flags.attempts,
            cold=flags.cold,
            forkable=forkable or self._freezer.is_wanted(flags),
        )
        purpose = f"{self.recipe} of {project.name if project else source}"
        return MachineRequest(
            image=image, options=options, preparation=prepare, purpose=purpose, log_dir=self.directory
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
            problem = self.failed[name] = failure
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

    @property
    def looks_at_failures(self) -> bool:
        """Whether :meth:`debug` does anything."""
        return self.flags.shell or self.flags.keep or self._freezer.is_wanted(self.flags)

    def debug(self, guest: Guest, problem: VmtasksError) -> None:
        """Give the user a look at the machine before it goes, now or later, where that was asked for."""
        from vmtasks.run.debug import blame, look_at

        blame(guest, problem)
        if self._freezer.is_wanted(self.flags):
            self._freezer.freeze(guest, problem, self.directory)
        with self._look:
            look_at(guest, problem, self.flags)

    def _name_for(self, value: str) -> str:
        """Return a name that no other machine of this run has: its logs are called by it."""
        number = next(self._names.setdefault(value, count(1)))
        return value if number == 1 else f"{value}-{number}"
