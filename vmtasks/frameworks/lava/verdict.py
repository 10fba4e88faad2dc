"""What a job of definitions comes to. "Complete" and "passed" are two things, and both are said.

A job is complete if each definition was run, whatever its cases said and whether its steps came to their end: so LAVA's
Complete may have nothing but failures in it, and an Incomplete one nothing but passes. Here a run passes only if it is
complete, and nothing in it has failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from vmtasks import events
from vmtasks.errors import NothingTested, TestFailed
from vmtasks.frameworks.lava.cases import OWN, CaseRow
from vmtasks.frameworks.lava.definition import RESULTS

_NAMED = 10
_WORDS = {"pass": "passed", "fail": "failed", "skip": "skipped", "unknown": "unknown"}


def judge(rows: Sequence[CaseRow], incomplete: Sequence[str]) -> None:
    """End a job whose definitions have run.

    :param incomplete: the suites of the definitions that could not run, or were cut short.
    :raise TestFailed: there is one, or a case failed, or the steps of a definition did not come to their end.
    :raise NothingTested: all is well, but no case has a verdict, though there are some.
    """
    cases = [row for row in rows if row.suite != OWN]
    if incomplete or any(row.result == "fail" for row in rows):
        raise TestFailed(summary(rows, incomplete), details=_details(cases))
    if cases and not any(row.result == "pass" for row in cases):
        raise NothingTested(summary(rows, incomplete))
    events.emit(events.Note(text=summary(rows, incomplete)))


def summary(rows: Sequence[CaseRow], incomplete: Sequence[str]) -> str:
    """Say in one sentence whether a job is complete, and whether it has passed."""
    cases = [row for row in rows if row.suite != OWN]
    counts: Counter[str] = Counter(row.result for row in cases)
    broken = {row.name: row.message for row in rows if row.suite == OWN and row.result == "fail"}
    if incomplete:
        verdict = f"not complete ({_reasons({suite: broken.get(suite, '') for suite in incomplete})})"
    elif broken:
        verdict = f"complete, and not passed ({_reasons(broken)})"
    elif counts["fail"]:
        verdict = "complete, and not passed"
    else:
        verdict = "complete, and passed" if counts["pass"] or not cases else "complete, but nothing was tested"
    told = ", ".join(f"{counts[result]} {_WORDS[result]}" for result in RESULTS if counts[result])
    return f"{verdict}: {f'of {len(cases)} cases {told}' if cases else 'no cases'}{_names(cases)}"


def _reasons(broken: Mapping[str, str]) -> str:
    return "; ".join(f"{suite}: {reason}".removesuffix(": ") for suite, reason in broken.items())


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
