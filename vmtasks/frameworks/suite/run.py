"""A suite in one machine of a run, from its files to its cases."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import NothingTested, TestFailed, TimedOut, VmtasksError

if TYPE_CHECKING:
    from vmtasks.frameworks.suite.cases import SuiteReport
    from vmtasks.frameworks.suite.suite import Suite
    from vmtasks.guest import Guest
    from vmtasks.run.run import Run

_PRINTED = 15


def run_suite(run: Run, guest: Guest, suite: Suite, *, target: Path) -> None:
    """Run a suite in a machine that was booted with its preparation; each of its tests is a case of the run.

    What it leaves in its directory for results comes home, however it ends.

    :param target: the directory in which the suite's own is made, called like its tag.
    :raise TestFailed: a test failed, or the runner left no results, or not all of them.
    :raise NothingTested: there were no tests, or all were skipped.
    :raise TimedOut: its limit has passed.
    """
    from vmtasks.frameworks.suite.runners import RESULTS_VARIABLE, SHELL
    from vmtasks.frameworks.suite.verdict import judge, summary

    out = run.output_dir(str(target / suite.tag))
    guest.query(["rm", "-rf", suite.home])  # on a host that is no machine of ours, that of the last time
    guest.query(f"mkdir -p {suite.results} && chmod 1777 {suite.results}")
    tree = suite.files.install(guest)
    guest.query(["chmod", "-R", "a+rX", suite.home])  # another user may run it; here, modes may be for one alone
    env = {RESULTS_VARIABLE: suite.results}
    status, printed = 0, tuple[str, ...]()
    try:
        if suite.runner.name == SHELL:
            told: SuiteReport | None = _scripts(guest, suite, tree, env)
            _bring_home(run, guest, suite, out)
        else:
            status, printed = _whole(guest, suite, tree, env)
            told = _tell(guest, suite, _bring_home(run, guest, suite, out), out)
    except (NothingTested, TestFailed, TimedOut):
        with suppress(VmtasksError):  # the trouble that there was says more
            found = _bring_home(run, guest, suite, out)
            if report := _tell(guest, suite, found, out):
                events.emit(events.Note(machine=guest.name, text=summary(suite.tag, report), level="warning"))
        raise
    text = judge(suite.tag, told, suite.runner, status=status, printed=printed)
    events.emit(events.Note(machine=guest.name, text=text))


def _scripts(guest: Guest, suite: Suite, tree: str, env: Mapping[str, str]) -> SuiteReport:
    from vmtasks.deadline import Deadline
    from vmtasks.frameworks.suite.scripts import run_scripts

    try:
        return run_scripts(guest, suite, tree, env=env, limit=Deadline.after(_limit_s(guest, suite)))
    except TimedOut as problem:
        raise _late(guest, suite, problem) from problem


def _whole(guest: Guest, suite: Suite, tree: str, env: Mapping[str, str]) -> tuple[int, tuple[str, ...]]:
    """Run a suite by its runner; return the exit status, and the last lines that were printed."""
    from vmtasks.frameworks.suite.runners import command_of

    command = command_of(suite.runner, [*suite.words, suite.only or "."], programs=suite.programs)
    timeout_s = _limit_s(guest, suite)
    try:
        result = guest.run_through_reboots(command, cwd=tree, env=env, user=suite.user, warn=True, timeout_s=timeout_s)
    except TimedOut as problem:
        raise _late(guest, suite, problem) from problem
    if result.failed:
        guest.blame(result)
    return result.exited, result.last_lines(_PRINTED)


def _limit_s(guest: Guest, suite: Suite) -> float:
    return suite.timeout_s or guest.timeout_s or 0.0


def _late(guest: Guest, suite: Suite, problem: TimedOut) -> TimedOut:
    text = f"the suite {suite.tag} did not end within {_limit_s(guest, suite):g} s: {problem}"
    return TimedOut(text, details=problem.details, hint=problem.hint)


def _bring_home(run: Run, guest: Guest, suite: Suite, out: Path) -> list[Path]:
    """Bring out what is in the suite's directory for results, but for links, which lead to what is there anyway."""
    guest.query(["find", suite.results, "-type", "l", "-delete"])
    found = guest.get(suite.results, out)
    for path in found:
        run.artifact(path)
    return found


def _tell(guest: Guest, suite: Suite, paths: list[Path], out: Path) -> SuiteReport | None:
    """Tell of the cases in the results of a runner, which come all at once."""
    from vmtasks.frameworks.suite.results import report_in
    from vmtasks.frameworks.suite.runners import BATS

    report = report_in(paths, out, by_bats=suite.runner.name == BATS)
    for case in report.cases if report else ():
        case.emit(guest.name, suite.tag)
    return report
