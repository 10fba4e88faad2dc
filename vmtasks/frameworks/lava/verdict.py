"""What a job of definitions comes to. "Complete" and "passed" are two things, and both are said.

A job is complete if each definition ran to its end, whatever its cases said: so LAVA's Complete may have nothing but
failures in it, and an Incomplete one nothing but passes. Here a run passes only if it is both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vmtasks import events
from vmtasks.errors import NothingTested, TestFailed
from vmtasks.frameworks.lava.cases import OWN, CaseRow
from vmtasks.frameworks.lava.definition import RESULTS

_NAMED = 10
_WORDS = {"pass": "passed", "fail": "failed", "skip": "skipped", "unknown": "unknown"}


def judge(rows: Sequence[CaseRow], incomplete: Sequence[str]) -> None:
    """End a job whose definitions have run.

    :param incomplete: the suites of the definitions that did not run to their end.
    :raise TestFailed: a definition did not, or a case failed.
    :raise NothingTested: all is well, but no case has a verdict, though there are some.
    """
    cases = [row for row in rows if row.suite != OWN]
    if incomplete or any(row.result == "fail" for row in cases):
        raise TestFailed(summary(rows, incomplete), details=_details(cases))
    if cases and not any(row.result == "pass" for row in cases):
        raise NothingTested(summary(rows, incomplete))
    events.emit(events.Note(text=summary(rows, incomplete)))


def summary(rows: Sequence[CaseRow], incomplete: Sequence[str]) -> str:
    """Say in one sentence whether a job is complete, and whether it has passed."""
    cases = [row for row in rows if row.suite != OWN]
    counts: Counter[str] = Counter(row.result for row in cases)
    if incomplete:
        reasons = {row.name: row.message for row in rows if row.suite == OWN}
        reason = "; ".join(f"{suite}: {reasons.get(suite, '')}".removesuffix(": ") for suite in incomplete)
        verdict = f"not complete ({reason})"
    elif counts["fail"]:
        verdict = "complete, and not passed"
    else:
        verdict = "complete, and passed" if counts["pass"] or not cases else "complete, but nothing was tested"
    told = ", ".join(f"{counts[result]} {_WORDS[result]}" for result in RESULTS if counts[result])
    return f"{verdict}: {f'of {len(cases)} cases {told}' if cases else 'no cases'}{_names(cases)}"


def _names(cases: Sequence[CaseRow]) -> str:
    failed = [row for row in cases if row.result == "fail"]
    names = ", ".join(f"{row.suite}/{row.title}" for row in failed[:_NAMED])
    more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    return f" ({names}{more})" if failed else ""


def _details(cases: Sequence[CaseRow]) -> tuple[str, ...]:
    """Return what the failed cases printed last, each line behind the name of its case."""
    found: list[str] = []
    for row in (one for one in cases if one.result == "fail"):
        found += [f"{row.suite}/{row.title}: {line}" for line in (row.message, *row.details) if line]
    return tuple(found)
