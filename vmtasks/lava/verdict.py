"""What a job of definitions comes to. "Complete" and "passed" are two things, and both are said.

A job is complete if each definition ran to its end, whatever its cases said: so LAVA's Complete may have nothing but
failures in it, and an Incomplete one nothing but passes. Here a run passes only if it is both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vmtasks import events
from vmtasks.errors import NothingTested, TestFailed
from vmtasks.lava.cases import OWN, CaseRow
from vmtasks.lava.definition import RESULTS

_NAMED = 10
_WORDS = {"pass": "passed", "fail": "failed", "skip": "skipped", "unknown": "unknown"}


def judge(rows: Sequence[CaseRow], incomplete: Sequence[str]) -> None:
    """Say how a job has ended.

    :param incomplete: the suites of the definitions that did not run to their end.
    :raise TestFailed: a definition did not, or a case failed.
    :raise NothingTested: all is well, but no case has a verdict, though there are some.
    """
    cases = [row for row in rows if row.suite != OWN]
    failed = [row for row in cases if row.result == "fail"]
    counts: Counter[str] = Counter(row.result for row in cases)
    told = ", ".join(f"{counts[result]} {_WORDS[result]}" for result in RESULTS if counts[result])
    cases_told = f"of {len(cases)} cases {told}" if cases else "no cases"
    if incomplete:
        reasons = {row.name: row.message for row in rows if row.suite == OWN}
        why = "; ".join(f"{suite}: {reasons.get(suite, '')}".removesuffix(": ") for suite in incomplete)
        raise TestFailed(f"not complete ({why}); {cases_told}{_names(failed)}", details=_details(failed))
    if failed:
        raise TestFailed(f"complete, and not passed: {cases_told}{_names(failed)}", details=_details(failed))
    if cases and not counts["pass"]:
        raise NothingTested(f"complete, but nothing was tested: {cases_told}")
    events.emit(events.Note(text=f"complete, and passed: {cases_told}"))


def _names(failed: Sequence[CaseRow]) -> str:
    names = ", ".join(f"{row.suite}/{row.title}" for row in failed[:_NAMED])
    more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    return f": {names}{more}" if failed else ""


def _details(failed: Sequence[CaseRow]) -> tuple[str, ...]:
    """Return what the failed cases printed last, each line behind the name of its case."""
    found: list[str] = []
    for row in failed:
        found += [f"{row.suite}/{row.title}: {line}" for line in (row.message, *row.details) if line]
    return tuple(found)
