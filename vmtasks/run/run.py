"""Recipes: Invoke tasks that run in machines, and end in a typed outcome with everything written down.

A recipe is a function that takes a :class:`Run` and some options::

    @recipe
    def greet(run: Run, image: str = "bookworm") -> None:
        \"\"\"Say hello from a clean machine.

        :param image: the image to boot.
        \"\"\"
        with run.boot(image) as guest:
            guest.succeed(["echo", "hello"])

The decorator makes a task of it: its options (and those that every recipe has, :class:`Flags`) are those of
the command line, its docstring is the help. A recipe calls another by handing on its run.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import update_wrapper
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task

from vmtasks import events
from vmtasks.errors import (
    GuestLost,
    HostError,
    Interrupted,
    NothingTested,
    Outcome,
    TestFailed,
    TestSkipped,
    TimeLimit,
    UsageError,
    VmtasksError,
    outcome_of,
)
from vmtasks.run.options import Flags, accelerator, network, option
from vmtasks.spec import HERE

if TYPE_CHECKING:
    from vmtasks.guest import Guest
    from vmtasks.project import Project
    from vmtasks.providers.preparation import Provisioning
    from vmtasks.spec import Checkpoint

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\udc80-\udc9f]")
_serials = count()
"""One `inv` can make several runs in a second."""


@dataclass(kw_only=True)
class Run:
    """One call of a recipe: its options, its directory, and the machines and test cases that it has."""

    recipe: str
    flags: Flags
    directory: Path
    products: list[Path] = field(default_factory=list)
    failed: dict[str, TestFailed] = field(default_factory=dict)
    console: Path | None = None
    nothing_tested: NothingTested | None = None
    """What the run ends with if nothing fails."""
    _look: threading.Lock = field(default_factory=threading.Lock)
    """A person looks at one machine at a time, however many fail at once."""
    _names: dict[str, Iterator[int]] = field(default_factory=dict)
    """The numbers of the next machines of each name."""

    def project(self, source: str, image: str = "") -> Project:
        """Load the project at *source*, with an image that somebody chose over its own.

        A file (a tarball, a .dsc) has no settings of its own: the defaults and the environment say what holds.

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
        provisioning: Provisioning | None = None,
        forkable: bool = False,
    ) -> Iterator[Guest]:
        """Start a clean machine for this run; see :func:`vmtasks.boot`.

        :param image: the name of an image, or a checkpoint.
        :param name: what to call it in output and logs.
        :param project: whose wishes for the machine count, where no flag says otherwise, and whose secrets are kept out
            of all output.
        :param provisioning: work that the machine is to have behind it; it is done once and then kept.
        :param forkable: whether ``guest.checkpoint`` is to serve.
        :raise UsageError: a variable that *project* wants of the host's environment is not set.
        """
        from vmtasks.providers.base import Wishes
        from vmtasks.providers.boot import boot_as, where
        from vmtasks.providers.preparation import provision
        from vmtasks.ssh import secret

        flags = self.flags
        secrets = secret.values(project.commands.env_from if project else ())
        origin = image if isinstance(image, str) else image.name
        wishes = Wishes(
            name=self._name_for(name or origin),
            on=flags.on or (project.machine.on if project else ""),
            memory_mib=flags.memory_mib or (project.machine.memory_mib if project else None),
            cpus=flags.cpus or (project.machine.cpus if project else None),
            network=network(flags.network) or (project.machine.network if project else None),
            accel=accelerator(flags.accel),
            attempts=flags.attempts,
            cold=flags.cold,
            forkable=forkable,
        )
        if flags.dry_run and isinstance(image, str):
            from vmtasks.providers.qemu.provider import argv_by_hand

            if where(image, wishes) != HERE:
                raise UsageError("cannot print QEMU's command line for a machine elsewhere: --dry-run is for this host")
            sys.stdout.write(shlex.join(argv_by_hand(image, wishes)) + "\n")
            raise Exit(code=0)
        what = f"{self.recipe} of {project.name if project else origin}"
        with boot_as(image, wishes, provisioning=provisioning, what=what, logs=self.directory) as guest:
            self.console = guest.facts.get("console")
            guest.mask(secrets.values())
            guest.limit_s = project.commands.timeout_s if project else None
            try:
                if provisioning is not None:
                    provision(guest, provisioning)
                yield guest
            except (TestFailed, TimeLimit, UsageError) as problem:
                self.linger(guest, problem)
                raise

    @contextmanager
    def case(self, name: str, *, goes_on: Guest | bool | None = None) -> Iterator[None]:
        """Run the block as a test case: a row of the report; ``TestSkipped`` ends it without a verdict.

        :param goes_on: the machine on which the run goes on after a failure, to fail at its end; where somebody
            asked for a look at the failure, they get it first. True is for one that is gone already. Without either
            a failure ends the run here, and so does the loss of the machine.
        """
        events.emit(events.CaseStarted(case=name))
        began_s = time.monotonic()
        problem: BaseException | None = None
        try:
            yield
        except TestSkipped as skipped:
            problem = skipped
        except TestFailed as failure:
            problem = failure
            self.failed[name] = failure
            if not goes_on or (isinstance(failure, GuestLost) and goes_on is not True):
                raise
            events.emit(events.Note(text=f"{name}: {failure.sentence}", level="warning"))
            if goes_on is not True:
                self.linger(goes_on, failure)
        except BaseException as other:
            problem = other
            raise
        finally:
            events.emit(
                events.CaseEnded(
                    case=name,
                    outcome="skipped" if isinstance(problem, TestSkipped) else outcome_of(problem),
                    duration_s=time.monotonic() - began_s,
                    sentence=_sentence(problem),
                    evidence=getattr(problem, "evidence", ()),
                )
            )

    def skip(self, name: str, why: str) -> None:
        """Report a test case that was not run."""
        with self.case(name):
            raise TestSkipped(why)

    def untested(self, sentence: str, *, evidence: tuple[str, ...] = (), hint: str = "") -> None:
        """Have the run end as one in which no test told anything, unless something fails."""
        self.nothing_tested = NothingTested(sentence, evidence=evidence, hint=hint)

    def product(self, path: Path) -> Path:
        """Announce a file for the user, and return it.

        A name that a guest chose must not be two lines on standard output, or speak to the terminal.
        """
        if _CONTROL.search(str(path)):
            events.emit(events.Note(text=f"a file with control characters in its name: {path!r}", level="warning"))
            return path
        self.products.append(path)
        events.emit(events.Product(path=path))
        return path

    def out(self, wish: str) -> Path:
        """Return the directory for products: what somebody asked for, or the run's own; a dry run makes none.

        :raise UsageError: it cannot be written.
        """
        path = Path(wish) if wish else self.directory / "products"
        if self.flags.dry_run:
            return path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise UsageError(f"cannot write products to {path}: {problem.strerror}") from problem
        if not os.access(path, os.W_OK | os.X_OK):
            raise UsageError(f"cannot write products to {path}: it is not yours to write to")
        return path

    def linger(self, guest: Guest, problem: VmtasksError) -> None:
        """Give the user a look at the machine before it goes, where that was asked for."""
        from vmtasks.run.debug import keep, shell

        with self._look:
            if self.flags.shell:
                shell(guest, problem)
            if self.flags.keep:
                keep(guest, self.flags.keep_s)

    def _name_for(self, wish: str) -> str:
        """Return a name that no other machine of this run has: its logs are called by it."""
        number = next(self._names.setdefault(wish, count(1)))
        return wish if number == 1 else f"{wish}-{number}"


class Recipe(Task[Callable[..., Any]]):
    """An Invoke task around a function of a run."""

    def __init__(self, body: Callable[..., Any], *, iterable: tuple[str, ...] = ()) -> None:
        self.recipe_body = body
        super().__init__(self._as_task(body), help=_help(body), iterable=list(iterable), auto_shortflags=False)

    def __call__(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """Run inside another recipe's run, or as the task that Invoke calls."""
        if args and isinstance(args[0], Run):
            return self.recipe_body(*args, **options)
        return super().__call__(*args, **options)

    def _as_task(self, body: Callable[..., Any]) -> Callable[..., Any]:
        def task(_: Context, **options: Any) -> Any:  # noqa: ANN401
            flags = Flags.taken_from(options)
            with recorded(body.__name__.replace("_", "-"), flags) as run:
                return body(run, **options)

        update_wrapper(task, body)
        task.__doc__ = (inspect.getdoc(body) or "").partition(":param")[0].rstrip()  # the options' help has the rest
        # What is keyword-only is for recipes that call this one, and no option of the command line.
        own = [one for one in inspect.signature(body).parameters.values() if one.kind is not one.KEYWORD_ONLY]
        task.__signature__ = inspect.Signature([*own, *map(option, fields(Flags))])  # type: ignore[attr-defined]
        return task


@overload
def recipe(body: Callable[..., Any]) -> Recipe: ...
@overload
def recipe(*, iterable: tuple[str, ...]) -> Callable[[Callable[..., Any]], Recipe]: ...
def recipe(
    body: Callable[..., Any] | None = None, *, iterable: tuple[str, ...] = ()
) -> Recipe | Callable[[Callable[..., Any]], Recipe]:
    """Make a recipe of a function; see the module's docstring.

    :param iterable: the options that may be given more than once; they come as a list.
    """
    if body is None:
        return lambda function: Recipe(function, iterable=iterable)
    return Recipe(body)


@contextmanager
def recorded(name: str, flags: Flags) -> Iterator[Run]:
    """Run the block as a run: shown, written down, and ended with the exit status of its outcome.

    :raise Exit: the block failed; what there is to say has been said.
    """
    from vmtasks.process.signals import signals_interrupt
    from vmtasks.report import reporting

    run = Run(recipe=name, flags=flags, directory=_new_directory(name) if not flags.dry_run else output())
    if flags.dry_run:
        yield run
        return
    repeat = shlex.join([os.path.relpath(sys.argv[0]) if os.sep in sys.argv[0] else sys.argv[0], *sys.argv[1:]])
    with reporting(run.directory), signals_interrupt():
        events.emit(events.RunStarted(recipe=name, directory=run.directory, repeat=repeat))
        try:
            yield run
            if run.failed:
                raise _all_in_one(run.failed)
            if run.nothing_tested:
                raise run.nothing_tested
        except BaseException as problem:
            _end(run, problem, repeat)
            raise Exit(code=outcome_of(problem).exit_code) from problem
        events.emit(events.RunEnded(outcome=outcome_of(None)))


def _all_in_one(failed: dict[str, TestFailed]) -> TestFailed:
    """Return the failure that stands for those of several test cases."""
    said = ((f"{name}: {failure.sentence}", *failure.evidence) for name, failure in failed.items())
    return TestFailed(
        f"{len(failed)} of the test cases failed: {', '.join(failed)}",
        evidence=tuple(line for lines in said for line in lines),
    )


def _end(run: Run, problem: BaseException, repeat: str) -> None:
    """Emit the last event of a run that did not pass."""
    from vmtasks.process.tail import last_lines

    outcome = outcome_of(problem)
    evidence: tuple[str, ...] = getattr(problem, "evidence", ())
    hint = getattr(problem, "hint", "")
    if outcome is Outcome.INTERNAL:
        report = run.directory / "traceback.txt"
        trace = "".join(traceback.format_exception(problem))
        evidence = tuple(trace.splitlines()[-6:])
        hint = f"this is a defect of vmtasks; {report} shows where"
        try:
            report.write_text(trace)
        except OSError as other:
            hint = f"this is a defect of vmtasks; where it is could not be written to {report}: {other.strerror}"
    in_machine = isinstance(problem, TestFailed | TimeLimit)
    events.emit(
        events.RunEnded(
            outcome=outcome,
            sentence=_sentence(problem),
            evidence=evidence,
            hint=hint,
            console=last_lines(run.console) if run.console and outcome.is_infrastructure else (),
            shell=f"{repeat} --shell" if in_machine and not run.flags.shell else "",
        )
    )


def output() -> Path:
    """Return where runs are written down, relative to the directory that a recipe is called from."""
    return Path(os.environ.get("VMTASKS_RESULTS") or "build/vmtasks")


def _new_directory(name: str) -> Path:
    """Make the directory of this run, and let ``latest`` lead to it."""
    home = output()
    stamp = time.strftime("%Y%m%d-%H%M%S")
    serial = next(_serials)
    path = home / (f"{name}-{stamp}-{os.getpid()}" + (f".{serial}" if serial else ""))
    latest = home / "latest"
    try:
        path.mkdir(parents=True)
        beside = home / f".latest.{os.getpid()}"
        beside.symlink_to(path.name)
        beside.replace(latest)
    except OSError as problem:
        raise HostError(f"cannot write results to {home.absolute()}: {problem.strerror}") from problem
    return path


def _sentence(problem: BaseException | None) -> str:
    if problem is None:
        return ""
    if isinstance(problem, KeyboardInterrupt):
        return Interrupted("interrupted").sentence
    if isinstance(problem, VmtasksError):
        return problem.sentence
    if outcome_of(problem) is Outcome.HOST:
        return f"cannot go on: {problem}"
    return f"{type(problem).__name__}: {problem}"


def _help(body: Callable[..., Any]) -> dict[str, str]:
    """Take the options' help from the docstring's ``:param:`` lines, and from the common flags."""
    documented = re.findall(r":param (\w+):\s*((?:.|\n)*?)(?=\n\s*(?::|\n|$)|\Z)", inspect.getdoc(body) or "")
    options = [name for name, one in inspect.signature(body).parameters.items() if one.kind is not one.KEYWORD_ONLY]
    own = {name: " ".join(text.split()) for name, text in documented if name in options}
    return own | {flag.name: str(flag.metadata["help"]) for flag in fields(Flags)}
