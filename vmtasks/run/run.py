"""One call of a recipe: its machines, its test cases, its artifacts."""

from __future__ import annotations

import os
import re
import shlex
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from vmtasks.run.options import RecipeOptions, accelerator, network
from vmtasks.run.stopwatch import stopwatch

if TYPE_CHECKING:
    from vmtasks.group.group import Group
    from vmtasks.group.roles import Role
    from vmtasks.guest import Guest
    from vmtasks.project import Project
    from vmtasks.providers.base import MachineRequest
    from vmtasks.providers.preparation import Preparation
    from vmtasks.spec import Checkpoint

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\udc80-\udc9f]")


@dataclass(kw_only=True)
class Run:
    """One call of a recipe: its options, its directory, and the machines and test cases that it has."""

    recipe: str
    flags: RecipeOptions
    directory: Path
    artifacts: list[Path] = field(default_factory=list)
    failed: dict[str, TestFailed] = field(default_factory=dict)
    console: Path | None = None
    nothing_tested: NothingTested | None = None
    """What the run ends with if nothing fails."""
    _look: threading.Lock = field(default_factory=threading.Lock)
    """A person looks at one machine at a time, however many fail at once."""
    _names: dict[str, Iterator[int]] = field(default_factory=dict)
    """The numbers of the next machines of each name."""

    def project(self, source: str, image: str = "") -> Project:
        """Load the project at *source*, with *image* over its own if one is given.

        A file (a tarball, a .dsc) has no settings of its own: the defaults and the environment hold.

        :raise UsageError: it is not there, or its vmtasks.toml is not right.
        """
        from vmtasks.config.paths import image_dirs
        from vmtasks.project import Images, Project

        path = Path(source or ".")
        project = Project.load(path) if not path.is_file() else Project.of_file(path)
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
            guest.limit_s = project.commands.timeout_s if project else None
            with self._debug_on_failure(guest):
                if prepare is not None:
                    do_prepare(guest, prepare)
                yield guest

    def group(
        self,
        roles: Mapping[str, Role | str],
        *,
        wait_limit_s: float = 900.0,
        limit_s: float = 0.0,
        project: Project | None = None,
    ) -> AbstractContextManager[Group]:
        """Start a group of clean machines for this run, all at once; see :func:`vmtasks.boot_group`.

        :param roles: what each role is; the name of an image is one machine of it.
        :param wait_limit_s: how long a message between them may be waited for, in seconds.
        :param limit_s: after how many seconds the whole group ends; 0: never.
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
            wait_limit_s=wait_limit_s,
            limit_s=limit_s,
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
            memory_mib=flags.memory_mib or (project.machine.memory_mib if project else None),
            cpus=flags.cpus or (project.machine.cpus if project else None),
            network=network(flags.network) or (project.machine.network if project else None),
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
        **renamed: Any,  # noqa: ANN401
    ) -> Iterator[None]:
        """Run the block as a test case: a row of the report; ``TestSkipped`` ends it without a verdict.

        :param continue_on_error: go on after a failure, and fail at the run's end. Without it a failure ends the run
            here.
        :param guest: the machine that the case is about: it is shown where somebody asked for a look at failures, and
            its loss ends the run even so.
        :param renamed: ``goes_on``, which stood for both before 0.2.
        """
        if "goes_on" in renamed:
            was = renamed.pop("goes_on")
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

    def artifact(self, path: Path) -> Path:
        """Announce a file for the user, and return it.

        A name that a guest chose must not be two lines on standard output, or speak to the terminal.
        """
        if _CONTROL.search(str(path)):
            events.emit(events.Note(text=f"a file with control characters in its name: {path!r}", level="warning"))
            return path
        self.artifacts.append(path)
        events.emit(events.Artifact(path=path))
        return path

    def output_dir(self, path: str) -> Path:
        """Return the directory for artifacts: the one that was asked for, or the run's own; a dry run makes none.

        :raise UsageError: it cannot be written.
        """
        chosen = Path(path) if path else self.directory / "artifacts"
        if self.flags.dry_run:
            return chosen
        try:
            chosen.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise UsageError(f"cannot write artifacts to {chosen}: {problem.strerror}") from problem
        if not os.access(chosen, os.W_OK | os.X_OK):
            raise UsageError(f"cannot write artifacts to {chosen}: it is not yours to write to")
        return chosen

    def product(self, path: Path) -> Path:
        """Do what :meth:`artifact` does, as it was called before 0.2."""
        errors.renamed("run.product()", "run.artifact()")
        return self.artifact(path)

    def out(self, value: str) -> Path:
        """Do what :meth:`output_dir` does, as it was called before 0.2."""
        errors.renamed("run.out()", "run.output_dir()")
        return self.output_dir(value)

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
