"""A matrix as people see it, and as it is written down."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from vmtasks import events as e
from vmtasks.report.display.matrix import MatrixTable
from vmtasks.report.display.matrix_lines import MatrixLines
from vmtasks.report.display.stream import SafeStream
from vmtasks.report.files.junit import JunitFile
from vmtasks.report.files.matrix_junit import MatrixJunit
from vmtasks.report.files.result import ResultFile
from vmtasks.report.sanitize import sanitized

AT_S = time.mktime((2025, 1, 2, 12, 3, 4, 0, 0, -1))
STARTED = e.RunStarted(recipe="test-in-vm", directory=Path("/runs/1"), rerun="inv test-in-vm", at_s=AT_S)
ENDED = e.RunEnded(outcome="test-failed", message="1 of 2 runs did not pass: trixie (test-failed)", at_s=AT_S + 9)


def standing(name: str, outcome: str, **more: Any) -> e.MatrixRun:
    told = {"directory": Path("/runs/1", name), "rerun": f"inv test-in-vm --image {name}", "at_s": AT_S}
    return e.MatrixRun(combination=name, outcome=outcome, **{**told, **more})


EVENTS = (
    STARTED,
    standing("bookworm", "waiting"),
    standing("trixie", "waiting"),
    standing("bookworm", "running"),
    standing("bookworm", "running", doing="build: make"),
    standing("trixie", "running", doing="[bold]x[/]"),
    standing("bookworm", "passed", exit_code=0, duration_s=3.0),
    standing("trixie", "test-failed", exit_code=1, duration_s=8.0, message="it is rude"),
    ENDED,
)


def test_a_log_has_a_line_for_all_that_is_new_and_each_end_once_more() -> None:
    stream = io.StringIO()
    lines = MatrixLines(SafeStream(stream))
    for event in EVENTS:
        lines(event)
    assert stream.getvalue().splitlines() == [
        "12:03:04 * test-in-vm began; logs and results go to /runs/1",
        "12:03:04 bookworm  * build: make",
        "12:03:04 trixie    * [bold]x[/]",
        "12:03:04 bookworm  * passed after 3.0 s",
        "12:03:04 trixie    * test-failed after 8.0 s: it is rude",
        "bookworm passed in 3.0 s; results in /runs/1/bookworm",
        "trixie failed after 8.0 s: it is rude; results in /runs/1/trixie",
        "  rerun:   inv test-in-vm --image trixie",
        "",
        "test-in-vm failed after 9.0 s: 1 of 2 runs did not pass: trixie (test-failed)",
        "",
        "  logs:    /runs/1",
        "  rerun:   inv test-in-vm",
    ]


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(*events: e.Event, columns: int = 80, rows: int = 30) -> tuple[list[str], str]:
    """Return what is drawn at the first moment after these events, and all that there was."""
    screen = Tty()
    table = MatrixTable(
        SafeStream(screen), {"TERM": "xterm", "COLUMNS": str(columns), "LINES": str(rows), "NO_COLOR": "1"}
    )
    for event in events:
        table(event)
    before = len(screen.getvalue())
    if table._live:
        table._live.refresh()
    now = sanitized(screen.getvalue()[before:])
    table.close()
    return [line.rstrip() for line in now.split("\n") if line.strip()], sanitized(screen.getvalue())


def test_the_table_has_a_row_for_each_from_the_first_to_the_last_moment() -> None:
    now, _ = drawn(*EVENTS[:3])
    assert now == ["  bookworm │ waiting", "  trixie   │ waiting"]
    now, _ = drawn(*EVENTS[:6])
    assert [line[2:].split() for line in now] == [
        ["bookworm", "│", "build:", "make", "0", "s"],
        ["trixie", "│", "[bold]x[/]", "0", "s"],
    ]
    now, _ = drawn(*EVENTS[:8])
    assert [line.split() for line in now] == [
        ["✔", "bookworm", "│", "passed", "3.0", "s"],
        ["✘", "trixie", "│", "test-failed:", "it", "is", "rude", "8.0", "s"],
    ]


def test_the_end_stays() -> None:
    now, screen = drawn(*EVENTS)
    assert now == []
    last = [line.rstrip() for line in screen.split("\n") if line.strip()][-6:]
    assert last == [
        "✔ bookworm passed in 3.0 s; results in /runs/1/bookworm",
        "✘ trixie failed after 8.0 s: it is rude; results in /runs/1/trixie",
        "  rerun   inv test-in-vm --image trixie",
        "✘ test-in-vm failed after 9.0 s: 1 of 2 runs did not pass: trixie (test-failed)",
        "  logs    /runs/1",
        "  rerun   inv test-in-vm",
    ]


def test_a_narrow_terminal_has_a_row_for_each() -> None:
    many = [standing(f"image-with-a-long-name-{number}", "running", doing="x" * 200) for number in range(5)]
    for columns in (200, 80, 40, 20, 10):
        now, _ = drawn(STARTED, *many, columns=columns)
        assert len(now) == 5
        assert max(map(len, now)) < columns


def test_a_matrix_is_written_down_as_its_rows() -> None:
    paper = ResultFile(Path("result.json"))
    for event in EVENTS[:5]:
        assert paper.hear(event) or event is EVENTS[1]
    assert [row["outcome"] for row in json.loads(paper.text())["runs"]] == ["running", "waiting"]
    for event in EVENTS[5:]:
        paper.hear(event)
    document = json.loads(paper.text())
    assert (document["outcome"], document["exit_code"]) == ("test-failed", 1)
    assert document["runs"] == [
        {
            "combination": "bookworm", "outcome": "passed", "exit_code": 0, "duration_s": 3.0,
            "directory": "/runs/1/bookworm", "message": "",
        },
        {
            "combination": "trixie", "outcome": "test-failed", "exit_code": 1, "duration_s": 8.0,
            "directory": "/runs/1/trixie", "message": "it is rude",
        },
    ]  # fmt: skip


def junit_of(directory: Path, *events: e.Event) -> None:
    suite = JunitFile(directory / "junit.xml")
    for event in events:
        suite.hear(event)
    directory.mkdir()
    suite.path.write_text(suite.text() or "")


def test_one_junit_has_the_suites_of_all(tmp_path: Path) -> None:
    junit_of(
        tmp_path / "bookworm",
        STARTED,
        e.CaseEnded(case="smoke", outcome="passed", duration_s=1.0),
        e.CaseEnded(case="<&>", definition="lava", machine="m", outcome="passed", duration_s=1.0),
        e.RunEnded(outcome="passed", at_s=AT_S + 2),
    )
    junit_of(tmp_path / "broken", STARTED, e.RunEnded(outcome="passed"))
    (tmp_path / "broken/junit.xml").write_text("<testsuites><testsuite")
    paper = MatrixJunit(tmp_path / "junit.xml")
    for event in (
        STARTED,
        standing("bookworm", "passed", directory=tmp_path / "bookworm", duration_s=2.0),
        standing("killed", "host", directory=tmp_path / "killed", duration_s=4.0, message="its process was ended"),
        standing("broken", "passed", directory=tmp_path / "broken", duration_s=1.0),
    ):
        assert not paper.hear(event)
        assert paper.text() is None
    assert paper.hear(e.RunEnded(outcome="host"))
    suites = list(ET.fromstring((paper.text() or "").encode()))  # noqa: S314 - our own text
    assert [suite.get("name") for suite in suites] == ["bookworm.test-in-vm", "killed.test-in-vm", "broken.test-in-vm"]
    assert [[(case.get("classname"), case.get("name")) for case in suite] for suite in suites] == [
        [("bookworm.test-in-vm", "smoke"), ("bookworm.test-in-vm.m.lava", "<&>")],
        [("killed.test-in-vm", "test-in-vm")],
        [("broken.test-in-vm", "test-in-vm")],
    ]
    (killed,) = suites[1]
    assert [(one.tag, one.get("message")) for one in killed] == [("error", "its process was ended")]
    assert (suites[1].get("time"), suites[1].get("errors")) == ("4.000", "1")
