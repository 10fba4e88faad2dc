"""xUnit XML, as pytest, avocado and bats write it: a document that a guest has made, and so is not trusted.

A document type is refused as soon as it begins: it could define entities, which grow without end or name files.
"""

from __future__ import annotations

from typing import NoReturn
from xml.etree import ElementTree as ET

from vmtasks.frameworks.suite.cases import MOST_CASES, SuiteCase, SuiteReport, last_of, seconds_of

_NOTHING = frozenset({"", "<unknown>"})
"""What avocado writes where it has nothing to say."""


class UnreadableResults(ValueError):
    """A document is none of test results."""


class _NoDoctype(ET.TreeBuilder):
    """Builds the tree of a document without a type."""

    def doctype(self, *_: str) -> NoReturn:
        raise UnreadableResults("it has a document type, which no test results need")


def parse_xunit(document: bytes) -> SuiteReport:
    """Return what a document tells.

    :param document: of a size that fits into memory some times over.
    :raise UnreadableResults: it is no XML, cut off, or XML of something else.
    """
    parser = ET.XMLParser(target=_NoDoctype())  # noqa: S314 - no document type, and so no entities
    try:
        parser.feed(document)
        root = parser.close()
    except (ET.ParseError, ValueError, LookupError) as problem:
        if isinstance(problem, UnreadableResults):
            raise
        raise UnreadableResults(f"it is no XML, or cut off: {problem}") from problem
    suites = [root] if root.tag == "testsuite" else root.findall("testsuite")
    if root.tag not in ("testsuite", "testsuites"):
        raise UnreadableResults(f"it is XML of something else: <{root.tag[:40]}>")
    rows = [row for suite in suites for row in suite.iter("testcase")]
    planned = sum(_number(suite.get("tests", "")) for suite in suites)
    complaint = ""
    if len(rows) > MOST_CASES:
        complaint = f"it has more than {MOST_CASES} tests"
    elif len(rows) < planned:
        complaint = f"only {len(rows)} of {planned} tests have told a result"
    return SuiteReport(cases=tuple(map(_case, rows[:MOST_CASES])), complaint=complaint)


def _case(row: ET.Element) -> SuiteCase:
    name, duration_s = _title(row), seconds_of(row.get("time", ""))
    for word in ("failure", "error"):
        if (found := row.find(word)) is not None:
            text = found.text or ""
            lines = last_of(("" if text.strip() in _NOTHING else text).splitlines()) or _printed(row)
            message = _first_line(found.get("message", "")) or (lines[-1] if lines else "")
            return SuiteCase(name=name, verdict="failed", duration_s=duration_s, message=message, details=lines)
    if (found := row.find("skipped")) is not None:
        message = _first_line(found.get("message", "")) or _first_line(found.text or "")
        return SuiteCase(name=name, verdict="skipped", duration_s=duration_s, message=message)
    return SuiteCase(name=name, verdict="passed", duration_s=duration_s)


def _title(row: ET.Element) -> str:
    """Return the name of a test, behind that of its class unless that says nothing more."""
    name, place = row.get("name", "").strip(), row.get("classname", "").strip().removeprefix("./")
    if place in _NOTHING or place in name:
        return name or "a test without a name"
    return f"{place}.{name}"


def _printed(row: ET.Element) -> tuple[str, ...]:
    return last_of("".join(f"{row.findtext(word) or ''}\n" for word in ("system-out", "system-err")).splitlines())


def _first_line(text: str) -> str:
    """Return the first line of what a message says."""
    stripped = text.strip()
    return "" if stripped in _NOTHING else stripped.splitlines()[0]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0  # noqa: PLR2004 - digits
