"""A suite of executable files: each is a test, told by its exit status, and started again if it reboots the guest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import NothingTested, TimedOut, UsageError
from vmtasks.frameworks.suite.cases import KEPT_LINES, SuiteCase, SuiteReport

if TYPE_CHECKING:
    from vmtasks.frameworks.suite.suite import Suite
    from vmtasks.guest import Guest

SKIP_STATUS = 77
"""By which a script says that it cannot be run here, as Automake and autopkgtest have it."""


def run_scripts(guest: Guest, suite: Suite, tree: str, *, env: Mapping[str, str], limit: Deadline) -> SuiteReport:
    """Run the scripts of a suite, one after the other; each case is told of as it ends.

    :param tree: the guest's directory of its files.
    :raise NothingTested: there are none.
    :raise UsageError: a pattern of the suite's chooses none.
    :raise TimedOut: the limit has passed.
    """
    if suite.only:
        scripts = _executable(guest, [f"{tree}/{suite.only}"])
    elif suite.words:
        scripts = _scripts(guest, tree, suite)
    else:
        scripts = _executable(guest, guest.glob(f"{escape(tree)}/*"))
    if not scripts:
        raise NothingTested(
            f"the suite {suite.tag} has no tests: none of its files is executable",
            hint="chmod +x them; those in directories are run if --args names them: --args 'net/*'",
        )
    cases: list[SuiteCase] = []
    for number, script in enumerate(scripts):
        name = str(PurePosixPath(script).relative_to(tree))
        if limit.passed:
            raise TimedOut(f"{len(scripts) - number} of {len(scripts)} scripts of {suite.tag} were not run")
        # If this one ends the run, the run's own end tells what became of it.
        events.emit(events.CaseStarted(machine=guest.name, definition=suite.tag, case=name))
        timeout_s = 0.0 if math.isinf(limit.left_s) else max(1.0, limit.left_s)
        result = guest.run_through_reboots([script], cwd=tree, env=env, user=suite.user, warn=True, timeout_s=timeout_s)
        case = _case(name, result.exited, result.duration_s, result.last_lines(KEPT_LINES))
        if case.verdict == "failed":
            guest.blame(result)
        case.emit(guest.name, suite.tag)
        cases.append(case)
    return SuiteReport(cases=tuple(cases))


def _scripts(guest: Guest, tree: str, suite: Suite) -> list[str]:
    """Return the executable files that a suite's patterns match, in the order of their names.

    :raise UsageError: a pattern matches none.
    """
    chosen: set[str] = set()
    for pattern in suite.words:
        if not (found := guest.glob(f"{escape(tree)}/{pattern}")):
            reason, hint = "none of its files is called so", "patterns begin at the top of the suite: 'net/*'"
        elif not (executable := _executable(guest, found)):
            reason, hint = "none of the files that are called so is executable", "chmod +x them"
        else:
            chosen.update(executable)
            continue
        raise UsageError(f"cannot run {pattern!r} of the suite {suite.tag}: {reason}", hint=hint)
    return sorted(chosen)


def _executable(guest: Guest, found: Sequence[str]) -> list[str]:
    """Return those of some paths that are executable files."""
    if not found:
        return []
    line = 'for f; do if [ -f "$f" ] && [ -x "$f" ]; then printf "%s\\n" "$f"; fi; done'
    executable = set(guest.query(["sh", "-c", line, "sh", *found]).splitlines())
    return [path for path in found if path in executable]


def _case(name: str, status: int, duration_s: float, lines: tuple[str, ...]) -> SuiteCase:
    if status == 0:
        return SuiteCase(name=name, verdict="passed", duration_s=duration_s)
    if status == SKIP_STATUS:
        return SuiteCase(name=name, verdict="skipped", duration_s=duration_s, message=lines[-1] if lines else "")
    message = f"it ended with status {status}"
    return SuiteCase(name=name, verdict="failed", duration_s=duration_s, message=message, details=lines)
