"""What a suite comes to: pure functions of what its runner told, and of how that ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vmtasks.errors import NothingTested, TestFailed
from vmtasks.frameworks.suite.cases import CaseVerdict, SuiteCase, SuiteReport
from vmtasks.frameworks.suite.runners import SuiteRunner

_NAMED = 10
_DETAILS = 60


def judge(
    tag: str, report: SuiteReport | None, runner: SuiteRunner, *, status: int, printed: Sequence[str] = ()
) -> str:
    """Return in a sentence how a suite has passed.

    :param report: what its runner told; None: nothing.
    :param status: the exit status of its runner.
    :param printed: the last lines that the runner printed.
    :raise TestFailed: a case failed, or not all of them have told.
    :raise NothingTested: it has no tests, or all were skipped.
    """
    ended = f"{runner.name} ended with status {status}"
    if report is None or not (report.cases or report.complaint):
        if (report and status == 0) or _says_no_tests(runner, status, printed):
            raise NothingTested(f"the suite {tag} has no tests that {runner.name} finds", details=tuple(printed))
        raise TestFailed(f"the suite {tag} has no results: {ended}", details=tuple(printed))
    failed = [case for case in report.cases if case.verdict == "failed"]
    if failed or report.complaint:
        raise TestFailed(summary(tag, report), details=_details(failed) or tuple(printed))
    if status:
        raise TestFailed(f"{summary(tag, report)}, but {ended}", details=tuple(printed))
    if not any(case.verdict == "passed" for case in report.cases):
        raise NothingTested(summary(tag, report))
    return summary(tag, report)


def summary(tag: str, report: SuiteReport) -> str:
    """Say what is known of a suite's cases."""
    counts = Counter(case.verdict for case in report.cases)
    failed = [case.name for case in report.cases if case.verdict == "failed"]
    more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    names = {"failed": f" ({', '.join(failed[:_NAMED])}{more})"}
    verdicts: tuple[CaseVerdict, ...] = ("passed", "skipped", "failed")
    told = ", ".join(f"{counts[one]} {one}{names.get(one, '')}" for one in verdicts if counts[one])
    cases = f"of {len(report.cases)} cases {told}" if report.cases else "no cases"
    return f"the suite {tag}: {cases}" + (f"; {report.complaint}" if report.complaint else "")


def _says_no_tests(runner: SuiteRunner, status: int, printed: Sequence[str]) -> bool:
    return status == runner.no_tests_status and any(runner.no_tests_text in line for line in printed or [""])


def _details(failed: Sequence[SuiteCase]) -> tuple[str, ...]:
    """Return what is known of failed cases, each line behind the name of its case."""
    lines = [f"{case.name}: {line}" for case in failed for line in case.details or (case.message,) if line]
    return tuple(lines[:_DETAILS])
