"""Signals that stand on standard output, as LAVA has them on the console: ``<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=…>``.

Programs print them themselves where there is no helper, so they count as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIGNAL = re.compile(r"^(?>.*?<LAVA_SIGNAL_(\w++)(?=[ >]))(?: (.*))?>")
_FIELD = re.compile(r"(?:^|(?<! ) ++)(TEST_CASE_ID|RESULT|MEASUREMENT|UNITS)=")
_TRACE = "+"
"""What a line begins with that a shell shows before it runs it (set -x)."""
_BARE = {"STARTTC": 1, "ENDTC": 1, "TESTCASE": 0, "TESTSET": 2, "TESTREFERENCE": 0, "TESTRAISE": 1, "TESTEVENT": 1,
         "TESTFEEDBACK": 1}  # fmt: skip
"""Those that count, and into how many words their text falls; 0: it is taken apart otherwise. STARTRUN and ENDRUN do
not: the runner knows better."""


def signal_in(line: str) -> Sequence[str] | None:
    """Return the words of the signal that a line of output has, as a helper sends them; None if it has none."""
    if line.startswith(_TRACE) or not (found := _SIGNAL.search(line)):
        return None
    kind, text = found[1], (found[2] or "").strip()
    if kind not in _BARE:
        return None
    if kind == "TESTCASE":
        fields = _FIELD.split(text)
        of = dict(zip(fields[1::2], (field.strip() for field in fields[2::2]), strict=True))
        return (kind, *(of.get(key, "") for key in ("TEST_CASE_ID", "RESULT", "MEASUREMENT", "UNITS")))
    if kind == "TESTREFERENCE":
        words = text.rsplit(maxsplit=2)
        return (kind, *words) if len(words) == 3 else None  # noqa: PLR2004 - case, result, URL
    return (kind, *text.split(maxsplit=_BARE[kind] - 1))
