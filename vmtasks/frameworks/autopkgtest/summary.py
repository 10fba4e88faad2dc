"""What autopkgtest reports of its tests: the file ``summary``, and its exit status.

Source: autopkgtest(1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["PASS", "FAIL", "SKIP", "FLAKY"]

_ROW = re.compile(r"(\S+)\s+(PASS|FAIL|SKIP|FLAKY|BROKEN)(?:\s+(.*))?")
_COMPLAINT = re.compile(r"(?:badpkg|erroneous package|testbed failure|quitting): (.*)")
_ORDER: dict[Verdict, int] = {"FAIL": 0, "FLAKY": 1, "PASS": 2, "SKIP": 3}
"""Of several rows about one test, the first by this decides."""
ALL = "*"
"""What a row is about that is about no test in particular."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The verdict on one test."""

    test: str
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All that was reported of one run."""

    rows: tuple[Row, ...] = ()
    complaint: str = ""
    """Why autopkgtest came to no verdict, or to one without a test: an erroneous package, a failed testbed."""

    def row_of(self, test: str) -> Row | None:
        """Return the row that decides on a test, None if there is none.

        Several paragraphs of a debian/tests/control may have a test of the same name, one for each architecture, say:
        a failure of one is a failure, and what ran tells more than what was skipped.
        """
        return min((row for row in self.rows if row.test == test), key=lambda row: _ORDER[row.verdict], default=None)


def parse(text: str) -> Summary:
    """Read a summary; lines that are neither a verdict nor a complaint do not count."""
    rows: list[Row] = []
    complaint = ""
    for line in text.splitlines():
        if match := _ROW.fullmatch(line.rstrip()):
            test, verdict, reason = match.groups(default="")
            rows.append(Row(test=test, verdict=_verdict(verdict), reason=reason))
        elif match := _COMPLAINT.match(line):
            complaint = complaint or match[1]
    return Summary(rows=tuple(rows), complaint=complaint)


def _verdict(word: str) -> Verdict:
    match word:
        case "PASS" | "SKIP" | "FLAKY":
            return word
        case _:  # BROKEN: what debian/tests/control has about it is invalid
            return "FAIL"
