"""TAP, the Test Anything Protocol, as bats, avocado and others write it: a pure parser of its versions 12 to 14.

A line of a result counts, and those below it that are comments or indented are about it. Subtests are indented, and so
are no results of their own. A plan says how many results there must be, before them or behind.

bats writes the titles of tests as they are, so what looks like a directive may be the author's prose. Asked for
timings, it has one behind each title, and a skip behind that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from vmtasks.frameworks.suite.cases import MOST_CASES, SuiteCase, SuiteReport, last_of

_RESULT = re.compile(r"(not )?ok\b[ \t]*+(\d{1,9}\b)?[ \t]*+(?:- )?(.*)", re.DOTALL)
_PLAN = re.compile(r"1\.\.(\d{1,9})[ \t]*+(?:#.*)?", re.DOTALL)
_DIRECTIVE = re.compile(r"(?:^|[ \t])#[ \t]*(skip|todo)(?![^\s:])[ \t:]*(.*)", re.IGNORECASE | re.DOTALL)
_TIMING = re.compile(r"[ \t]# in (\d{1,12}) ?ms\b")
_BATS_TIMING = re.compile(r" (?:# )?in (\d{1,12}) ?ms(?= # skip(?: |$)| # timeout after |$)")
_BATS_SKIP = re.compile(r" # skip(?: (.*))?", re.DOTALL)
_BATS_SKIP_ALONE = re.compile(r"(.*) # skip(?: (.*))?", re.DOTALL)
_BAIL_OUT = "Bail out!"


@dataclass(slots=True, kw_only=True)
class _TapState:
    """What has been read so far."""

    cases: list[SuiteCase] = field(default_factory=list)
    about: list[list[str]] = field(default_factory=list)
    """The lines about each case."""
    plan: int | None = None
    bail_out: str | None = None


def parse_tap(text: str, *, by_bats: bool = False) -> SuiteReport:
    """Return what a document tells; one that is cut off tells of those that it has, and says so.

    :param by_bats: bats has written it, with timings.
    """
    state = _TapState()
    for line in text.splitlines():
        _take(line, state, _bats_case if by_bats else _case)
        if state.bail_out is not None or len(state.cases) > MOST_CASES:
            break
    cases = tuple(_with_details(state))
    return SuiteReport(cases=cases[:MOST_CASES], complaint=_complaint(state))


def _take(line: str, state: _TapState, case_of: Callable[[re.Match[str], int], SuiteCase]) -> None:
    if found := _RESULT.fullmatch(line):
        state.cases.append(case_of(found, len(state.cases) + 1))
        state.about.append([])
    elif found := _PLAN.fullmatch(line):
        state.plan = int(found[1])
    elif line.startswith(_BAIL_OUT):
        state.bail_out = line.removeprefix(_BAIL_OUT).strip()
    elif state.about and line[:1] in ("#", " ", "\t"):
        state.about[-1].append(line.removeprefix("# ").removeprefix("#"))


def _case(found: re.Match[str], number: int) -> SuiteCase:
    name, message, duration_s = found[3], "", 0.0
    if timing := _TIMING.search(name):
        name, duration_s = name[: timing.start()] + name[timing.end() :], int(timing[1]) / 1000
    is_skipped = False
    if directive := _DIRECTIVE.search(name):
        name, word, message = name[: directive.start()], directive[1].lower(), directive[2].strip()
        # A test that is to do is expected to fail, and tells nothing if it does. One that was skipped cannot fail.
        is_skipped = (word == "skip") != bool(found[1])
        message = message or word
    verdict: bool = not found[1]
    return SuiteCase(
        name=name.strip() or f"test {found[2] or number}",
        verdict="skipped" if is_skipped else "passed" if verdict else "failed",
        duration_s=duration_s,
        message=message,
    )


def _bats_case(found: re.Match[str], number: int) -> SuiteCase:
    name, is_skipped, message, duration_s = found[3], False, "", 0.0
    reason: str | None = None
    if timing := _BATS_TIMING.search(name):
        skip = _BATS_SKIP.fullmatch(name, timing.end())
        name, duration_s = name[: timing.start()], int(timing[1]) / 1000
        reason = skip[1] or "" if skip else None
    elif skip := _BATS_SKIP_ALONE.fullmatch(name):  # some versions take the timing away from these
        name, reason = skip[1], skip[2] or ""
    if reason is not None and not found[1]:
        is_skipped, message = True, reason.strip() or "skip"
    return SuiteCase(
        name=name.strip() or f"test {found[2] or number}",
        verdict="skipped" if is_skipped else "failed" if found[1] else "passed",
        duration_s=duration_s,
        message=message,
    )


def _with_details(state: _TapState) -> Iterator[SuiteCase]:
    for case, lines in zip(state.cases, state.about, strict=True):
        if case.verdict == "failed" and (details := last_of(lines)):
            yield replace(case, message=case.message or details[-1], details=details)
        else:
            yield case


def _complaint(state: _TapState) -> str:
    found = len(state.cases)
    if state.bail_out is not None:
        return f"its tests bailed out after {found}: {state.bail_out}".removesuffix(": ")
    if found > MOST_CASES:
        return f"it has more than {MOST_CASES} tests"
    if state.plan is None:
        told = f"no plan, so it is cut off: {found} of its tests have told a result"
        return f"it has {told if found else 'neither a plan nor results'}"
    if found < state.plan:
        return f"it is cut off: only {found} of {state.plan} tests have told a result"
    return f"it has {found} results, and {state.plan} were planned" if found > state.plan else ""
