"""The last words about a run, which both displays show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from vmtasks.errors import Outcome
from vmtasks.events import MatrixRun, RunEnded, RunStarted
from vmtasks.report.format import because, duration, relative
from vmtasks.report.sanitize import lines_of, sanitized

__all__ = ["Line", "duration", "summary", "summary_of_runs"]

Role = Literal["good", "bad", "gap", "heading", "quote", "fact"]

_EVIDENCE_LINES = 40
_CONSOLE_LINES = 20

_VERDICTS = {
    Outcome.PASSED: "passed in",
    Outcome.FAILED: "failed after",
    Outcome.SKIPPED: "tested nothing in",
    Outcome.USAGE: "usage error after",
    Outcome.HOST: "host error after",
    Outcome.BOOT: "did not boot, after",
    Outcome.CONNECTION_LOST: "lost its connection after",
    Outcome.TIMEOUT: "timed out after",
    Outcome.INTERRUPTED: "was interrupted after",
    Outcome.INTERNAL: "internal error after",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the summary; *role* says how it may look where there is colour."""

    role: Role
    text: str = ""
    label: str = ""
    """What a fact is about."""


def summary(started: RunStarted | None, ended: RunEnded, times: str = "") -> tuple[Line, ...]:
    """Say how a run ended: one line for a pass, else all that is needed to go on from there.

    :param times: where the time went.
    """
    recipe = started.recipe if started else "the run"
    took_s = ended.at_s - started.at_s if started else 0.0
    headline = f"{recipe} {_verdict(ended.outcome)} {duration(took_s)}"
    if ended.outcome == Outcome.PASSED:
        results = f"; results in {relative(started.directory)}" if started else ""
        return (*([Line("fact", times, label="times")] if times else []), Line("good", headline + results))
    message = sanitized(ended.message).strip()
    return (
        Line("bad", f"{headline}: {message}" if message else headline),
        *_quoted("The last lines of its output:", ended.details, _EVIDENCE_LINES),
        *_quoted("The last lines of the console:", ended.console, _CONSOLE_LINES),
        *_facts(started, ended, times),
    )


def summary_of_runs(runs: Iterable[MatrixRun]) -> Iterator[Line]:
    """Say how each run of a matrix ended, and how to repeat those that did not pass."""
    for run in runs:
        has_passed = run.outcome == Outcome.PASSED
        ended = f"{_verdict(run.outcome)} {duration(run.duration_s or 0.0)}{because(run.message)}"
        headline = f"{run.combination} {ended}; results in {relative(run.directory)}"
        yield Line("good" if has_passed else "bad", headline)
        if not has_passed:
            yield Line("fact", run.rerun, label="rerun")


def _verdict(outcome: str) -> str:
    try:
        return _VERDICTS[Outcome(outcome)]
    except ValueError:
        return f"ended as {outcome} after"


def _quoted(heading: str, texts: tuple[str, ...], at_most: int) -> list[Line]:
    quotes = [Line("quote", line) for line in lines_of(texts, at_most=at_most)]
    return [Line("gap"), Line("heading", heading), *quotes] if quotes else []


def _facts(started: RunStarted | None, ended: RunEnded, times: str) -> list[Line]:
    facts = {
        "cause": "infrastructure, not the project" if _is_infrastructure(ended.outcome) else "",
        "hint": sanitized(ended.hint),
        "times": times,
        "logs": relative(started.directory) if started else "",
        "rerun": started.rerun if started else "",
        "shell": ended.shell,
    }
    return [Line("gap"), *(Line("fact", text, label=label) for label, text in facts.items() if text)]


def _is_infrastructure(outcome: str) -> bool:
    return outcome in list(Outcome) and Outcome(outcome).is_infrastructure
