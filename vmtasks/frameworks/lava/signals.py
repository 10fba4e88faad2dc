"""Signals that stand on standard output, as LAVA has them on the console: ``<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=…>``.

Programs print them themselves where there is no helper, so they count as well.
"""

from __future__ import annotations

import re

Signal = tuple[str, ...]
"""The words of a signal, as a helper sends them."""

_BEGINNING = re.compile(r"<LAVA_SIGNAL_(\w+)(?=[ >])")
_FIELD = re.compile(r"(?:^|(?<! ) ++)(TEST_CASE_ID|RESULT|MEASUREMENT|UNITS)=", re.IGNORECASE)
_THREE_WORDS = re.compile(r"\s*\S+\s+\S+\s+[^\s>]+")
_TRACE = "+"
"""What a line begins with that a shell shows before it runs it (set -x)."""
_BARE = {"STARTTC": 1, "ENDTC": 1, "TESTCASE": 0, "TESTSET": 2, "TESTREFERENCE": 0, "TESTRAISE": 1, "TESTEVENT": 1,
         "TESTFEEDBACK": 1}  # fmt: skip
"""Those that count, and into how many words their text falls; 0: it is taken apart otherwise. STARTRUN and ENDRUN do
not: the runner knows better."""


def parts_of(line: str) -> list[str | Signal]:
    """Return a line of output in its parts, in their order: the signals in it, and the text around them."""
    if line.startswith(_TRACE):
        return [line]
    beginnings = [*_BEGINNING.finditer(line)]
    limits = [*(one.start() for one in beginnings[1:]), len(line)]
    parts: list[str | Signal] = []
    text_from = 0
    for beginning, limit in zip(beginnings, limits, strict=False):
        kind, text = beginning[1], line[beginning.end() : limit]
        end = _end(kind, text)
        if signal := _words(kind, text[:end].strip()) if end >= 0 else None:
            parts += [line[text_from : beginning.start()], signal]
            text_from = beginning.end() + end + 1
    if not parts:
        return [line]
    return [part for part in (*parts, line[text_from:]) if not isinstance(part, str) or part.strip()]


def _end(kind: str, text: str) -> int:
    """Return where the text of a signal ends, at a ``>``; -1 if it does not.

    It is the first one, as in LAVA, behind which something else may follow, say of the kernel's; only where a case has
    no result yet, the ``>`` belongs to its name.
    """
    needed = 0
    if kind == "TESTCASE":
        firsts: dict[str, int] = {}
        for found in _FIELD.finditer(text):
            firsts.setdefault(found[1].upper(), found.end())
        if "TEST_CASE_ID" in firsts and "RESULT" in firsts:
            needed = max(firsts["TEST_CASE_ID"], firsts["RESULT"])
    elif kind == "TESTREFERENCE" and (words := _THREE_WORDS.match(text)):
        needed = words.end()
    end = text.find(">", needed)
    return end if end >= 0 else text.find(">")


def _words(kind: str, text: str) -> Signal | None:
    """Return the words of a signal; None if it is none that counts."""
    if kind not in _BARE:
        return None
    if kind == "TESTCASE":
        fields = _FIELD.split(text)
        keys = map(str.upper, fields[1::2])
        of = dict(zip(keys, (field.strip() for field in fields[2::2]), strict=True))
        return (kind, *(of.get(key, "") for key in ("TEST_CASE_ID", "RESULT", "MEASUREMENT", "UNITS")))
    if kind == "TESTREFERENCE":
        words = text.rsplit(maxsplit=2)
        return (kind, *words) if len(words) == 3 else None  # noqa: PLR2004 - case, result, URL
    return (kind, *text.split(maxsplit=_BARE[kind] - 1))
