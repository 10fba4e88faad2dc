"""A run, shown and written down from its beginning to its end."""

from __future__ import annotations

import os
import shlex
import stat
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import ClassVar

from invoke.exceptions import Exit

from vmtasks import events
from vmtasks.config.paths import is_at
from vmtasks.errors import (
    HostError,
    Outcome,
    TestFailed,
    TimedOut,
    VmtasksError,
    message_of,
    outcome_of,
)
from vmtasks.files import durable
from vmtasks.run.options import RecipeOptions
from vmtasks.run.place import make_directory
from vmtasks.run.run import Run

_CACHEDIR_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"
"""What such a file begins with (bford.info/cachedir)."""
IN_DIRECTORY = "VMTASKS_RUN_DIRECTORY"
"""What names its directory to a run of a matrix; what else is started below that run does not see it."""
_serials = count()
"""One `inv` can make several runs in a second."""


@contextmanager
def run_recorded(name: str, flags: RecipeOptions, *, source: str = "", matrix: bool = False) -> Iterator[Run]:
    """Run the block as a run: shown, written down, and ended with the exit status of its outcome.

    :param matrix: whether it is a matrix of runs, which are shown and written down each.
    :param source: the project's directory, if it is not this one: nothing is written through a link in it.
    :raise Exit: the block failed; its failure has been reported.
    """
    from vmtasks.config.settings import HostSettings
    from vmtasks.process.signals import interrupt_behind, interrupt_on_signals
    from vmtasks.report import reporting
    from vmtasks.run.old import remove_old

    home = Path(source) if source and is_at(Path(source), stat.S_ISDIR) else Path()
    given = os.environ.pop(IN_DIRECTORY, "")
    directory = Path(given) if given else output() if flags.dry_run else _new_directory(name, home)
    run = Run(recipe=name, flags=flags, directory=directory, home=home)
    if flags.dry_run:
        yield run
        return
    rerun = shlex.join([program(), *sys.argv[1:]])
    latest = _Latest(directory.parent if given else directory)
    with reporting(directory, matrix=matrix), interrupt_on_signals(), events.listening(latest):
        events.emit(events.RunStarted(recipe=name, directory=run.directory, rerun=rerun))
        try:
            for path in remove_old(output(), HostSettings.load()):
                events.emit(events.Note(text=f"old results are removed: {path}"))
            yield run
            if run.failed:
                raise _all_in_one(run.failed)
            if run.nothing_tested:
                raise run.nothing_tested
        except BaseException as problem:
            end = interrupt_behind(problem)
            _end(run, end, rerun, can_look=not matrix)
            raise Exit(code=outcome_of(end).exit_code) from problem
        events.emit(events.RunEnded(outcome=outcome_of(None)))


def _all_in_one(failed: dict[str, TestFailed]) -> TestFailed:
    """Return the failure that stands for those of several test cases."""
    entries = ((f"{name}: {failure!s}", *failure.details) for name, failure in failed.items())
    return TestFailed(
        f"{len(failed)} of the test cases failed: {', '.join(failed)}",
        details=tuple(line for lines in entries for line in lines),
    )


def _end(run: Run, problem: BaseException, rerun: str, *, can_look: bool) -> None:
    """Emit the last event of a run that did not pass.

    :param can_look: whether ``--shell`` could open a shell in the machine where it failed.
    """
    from vmtasks.process.tail import last_lines

    outcome = outcome_of(problem)
    details: tuple[str, ...] = getattr(problem, "details", ())
    hint = getattr(problem, "hint", "")
    if outcome is Outcome.INTERNAL and not isinstance(problem, VmtasksError):
        report = run.directory / "traceback.txt"
        trace = "".join(traceback.format_exception(problem))
        details = tuple(trace.splitlines()[-6:])
        hint = f"this is a defect of vmtasks; {report} shows where"
        try:
            report.write_text(trace)
        except OSError as other:
            hint = f"this is a defect of vmtasks; where it is could not be written to {report}: {other.strerror}"
    in_machine = can_look and isinstance(problem, TestFailed | TimedOut)
    events.emit(
        events.RunEnded(
            outcome=outcome,
            message=message_of(problem),
            details=details,
            hint=hint,
            console=last_lines(run.console) if run.console and outcome.is_infrastructure else (),
            shell=f"{rerun} --shell" if in_machine and not run.flags.shell else "",
        )
    )


def output() -> Path:
    """Return where runs are written down, relative to the directory that a recipe is called from."""
    return Path(os.environ.get("VMTASKS_RESULTS") or "build/vmtasks")


def program() -> str:
    """Return what this program is called by: its name, if that is how it is found."""
    import shutil

    called, name = sys.argv[0], Path(sys.argv[0]).name
    if os.sep not in called or shutil.which(name) == called:
        return name
    return os.path.relpath(called)


def called_with(words: Sequence[str]) -> list[str]:
    """Return the argument vector that calls this program with other words, as this process was started."""
    interpreter = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    return [sys.executable, *interpreter, *words]


class _Latest:
    """Lets ``latest`` lead to a run as soon as a machine is asked for: a call that was wrong is no run to look at.

    The first run of a matrix that asks for one lets it lead to the whole.

    Where it leads nowhere, or to an earlier run of the same call, it leads to this one from the beginning.
    """

    _has_led: ClassVar[bool] = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._leads_there = False
        if _Latest._has_led or not (directory.parent / "latest").exists():
            self._lead()

    def __call__(self, event: events.Event) -> None:
        if not self._leads_there and isinstance(event, events.PhaseStarted | events.MachineStarted):
            self._lead()

    def _lead(self) -> None:
        self._leads_there = _Latest._has_led = True
        results = self._directory.parent
        beside = results / f".latest.{os.getpid()}"
        try:
            beside.symlink_to(self._directory.name)
            durable.rename(beside, results / "latest", lasting=False)
        except OSError as problem:
            raise _unwritable(problem) from problem


def _new_directory(name: str, project: Path) -> Path:
    """Make the directory of this run."""
    is_new = not output().exists()
    try:
        results = make_directory(output(), project=project)
    except OSError as problem:
        raise _unwritable(problem) from problem
    stamp = time.strftime("%Y%m%d-%H%M%S")
    serial = next(_serials)
    path = results / (f"{name}-{stamp}-{os.getpid()}" + (f".{serial}" if serial else ""))
    try:
        if is_new:
            _keep_out(results)
        path.mkdir()
    except OSError as problem:
        raise _unwritable(problem) from problem
    return path


def _keep_out(results: Path) -> None:
    """Have neither git nor backups look into a directory of runs: it may be in somebody's checkout."""
    (results / ".gitignore").write_text("*\n")
    (results / "CACHEDIR.TAG").write_text(f"{_CACHEDIR_SIGNATURE}\n# Runs of vmtasks: logs, results, artifacts.\n")


def _unwritable(problem: OSError) -> HostError:
    return HostError(f"cannot write results to {output().absolute()}: {problem.strerror}")
