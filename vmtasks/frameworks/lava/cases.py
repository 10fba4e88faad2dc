"""What became of a test case, as LAVA has it, and as a row of the run's report."""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, cast

from vmtasks import events
from vmtasks.errors import Outcome
from vmtasks.frameworks.lava.definition import RESULTS

CaseResult = Literal["pass", "fail", "skip", "unknown"]
OWN = "lava"
"""The suite of what is no test: whether each definition ran to its end, and the job."""
_NO_NAME = re.compile(r"[^\w.-]+", re.ASCII)
_KEPT_LINES = 15
_OUTCOMES = {"pass": Outcome.PASSED.value, "fail": Outcome.FAILED.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    """The result of one case."""

    suite: str
    """The definition: its number and its name."""
    name: str
    result: CaseResult
    test_set: str = ""
    measurement: str = ""
    """As the test wrote it, in *units*."""
    units: str = ""
    reference: str = ""
    """Where more is written about the result."""
    message: str = ""
    details: tuple[str, ...] = ()
    """The last lines that the case printed."""
    at_s: float = field(default_factory=time.time)
    duration_s: float = 0.0
    lines: tuple[int, int] = (0, 0)
    """The first and the last line of the log that are about it, counted from 1; 0 where it printed nothing."""

    @property
    def title(self) -> str:
        """The case's name behind that of its set."""
        return titled(self.test_set, self.name)

    def emit(self, machine: str) -> None:
        """Tell of it. What neither passed nor failed has no verdict, and counts as skipped."""
        events.emit(
            events.CaseEnded(
                machine=machine,
                definition=self.suite,
                case=self.title,
                outcome=_OUTCOMES.get(self.result, "skipped"),
                duration_s=self.duration_s,
                message=self.message or ("its result is unknown" if self.result == "unknown" else ""),
                details=self.details,
                measurement=self.measurement,
                units=self.units,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that a test wants to be kept."""

    suite: str
    case: str
    """Empty: it belongs to the whole definition."""
    path: str
    """Below the guest's directory of attachments."""
    mime_type: str
    number: int
    """Counted from 1 over all definitions: two may have one name."""

    @property
    def place(self) -> PurePosixPath:
        """Where it goes, below the directory for results."""
        return PurePosixPath("attachments", self.suite, f"{self.number}-{slug(self.case or 'run')}")


@dataclass(slots=True, kw_only=True)
class OpenCase:
    """A case that has begun: what it prints, from which line of the log on."""

    test_set: str
    first_line: int
    began_s: float = field(default_factory=time.monotonic)
    duration_s: float | None = None
    """None until it has ended."""
    last_line: int = 0
    printed: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))

    def hear(self, line: str, number: int) -> None:
        """Take in a line that was printed meanwhile."""
        if self.duration_s is None:
            self.printed.append(line)
            self.last_line = number

    def end(self) -> None:
        """Take the time, unless it has ended before."""
        if self.duration_s is None:
            self.duration_s = time.monotonic() - self.began_s

    @property
    def lines(self) -> tuple[int, int]:
        """The lines of the log that are its; zeros if it printed nothing."""
        return (self.first_line, self.last_line) if self.last_line else (0, 0)


def titled(test_set: str, name: str) -> str:
    """Return the name of a case behind that of the set that it is in, if any."""
    return f"{test_set}/{name}" if test_set else name


def slug(name: str) -> str:
    """Return a name without what no path should have."""
    return _NO_NAME.sub("-", name).strip("-.") or "unnamed"


def result_of(word: str) -> CaseResult | None:
    """Return the result that a test names; None if it is none of LAVA's."""
    word = word.strip().lower()
    return cast("CaseResult", word) if word in RESULTS else None
