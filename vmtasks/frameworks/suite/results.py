"""The results of a runner among the files that came home."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from vmtasks.files.regular_file import open_regular
from vmtasks.frameworks.suite.cases import SuiteReport
from vmtasks.frameworks.suite.runners import TAP, XUNIT
from vmtasks.frameworks.suite.tap import parse_tap
from vmtasks.frameworks.suite.xunit import UnreadableResults, parse_xunit

MOST_BYTES = 16 * 1024 * 1024
"""A document of results may be so large; what is parsed takes some times that of memory."""
_START = re.compile(r"start-([0-9]{1,6})")


def report_in(paths: Sequence[Path], root: Path, *, by_bats: bool = False) -> SuiteReport | None:
    """Return what the runner's last start has told; None if it told nothing.

    xUnit goes before TAP, which has less in it, but is written while the tests run.

    :param paths: the files that came home.
    :param root: the directory that they are in.
    :param by_bats: the runner is bats, whose TAP has rules of its own.
    """
    starts: dict[int, list[Path]] = {}
    root = root.resolve()  # as the paths of what has come out of a guest
    for path in paths:
        parts = path.relative_to(root).parts
        if len(parts) > 1 and (found := _START.fullmatch(parts[0])):
            starts.setdefault(int(found[1]), []).append(path)
    if not starts:
        return None
    last = starts[max(starts)]
    xunit, tap = _of_name(XUNIT, last), _of_name(TAP, last)
    report = _xunit_at(xunit) if xunit else None
    if tap and (report is None or not report.cases):
        told = _tap_at(tap, by_bats=by_bats)
        return told if told.cases or report is None else report
    return report


def _of_name(name: str, paths: Sequence[Path]) -> Path | None:
    """Return the file of that name that is the least deep: tests may leave others of that name."""
    found = [path for path in paths if path.name == name]
    return min(found, key=lambda path: (len(path.parts), path), default=None)


def _xunit_at(path: Path) -> SuiteReport:
    try:
        return parse_xunit(_content(path))
    except UnreadableResults as problem:
        return SuiteReport(complaint=f"cannot read {path.name}: {problem}")
    except OSError as problem:
        return SuiteReport(complaint=f"cannot read {path.name}: {problem.strerror}")


def _tap_at(path: Path, *, by_bats: bool) -> SuiteReport:
    try:
        report = parse_tap(_content(path).decode(errors="replace"), by_bats=by_bats)
    except (OSError, UnreadableResults) as problem:
        return SuiteReport(complaint=f"cannot read {path.name}: {problem}")
    if not report.complaint:
        return report
    return SuiteReport(cases=report.cases, complaint=f"{path.name}: {report.complaint}")


def _content(path: Path) -> bytes:
    """Return what a file holds.

    :raise UnreadableResults: it is larger than results are.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UnreadableResults(f"it has more than {MOST_BYTES >> 20} MiB")
    return content
