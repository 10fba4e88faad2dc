"""What became of a suite: its cases, and whether these are all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from vmtasks import events
from vmtasks.errors import Outcome

CaseVerdict = Literal["passed", "failed", "skipped"]
KEPT_LINES = 15
"""So many lines about a failure are kept: the last ones."""
MOST_CASES = 10_000
"""So many a run can tell of within seconds: each is a row of its documents."""
_OUTCOMES: dict[CaseVerdict, str] = {"passed": Outcome.PASSED.value, "failed": Outcome.FAILED.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteCase:
    """One test of a suite, and what became of it."""

    name: str
    verdict: CaseVerdict
    duration_s: float = 0.0
    message: str = ""
    details: tuple[str, ...] = ()
    """The last lines that are about a failure."""

    def emit(self, machine: str, tag: str) -> None:
        """Tell of it.

        :param tag: what the suite is called.
        """
        events.emit(
            events.CaseEnded(
                machine=machine,
                definition=tag,
                case=self.name,
                outcome=_OUTCOMES.get(self.verdict, "skipped"),
                duration_s=self.duration_s,
                message=self.message,
                details=self.details,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteReport:
    """What a suite's runner has told."""

    cases: tuple[SuiteCase, ...] = ()
    complaint: str = ""
    """Why these are not all of them, as the second half of a sentence; empty if they are."""


def last_of(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the last lines that are not blank, without blanks at their ends."""
    return tuple(line.rstrip() for line in lines if line.strip())[-KEPT_LINES:]


def seconds_of(text: str) -> float:
    """Return the seconds that a report has for a test; 0 where that is no number."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0
