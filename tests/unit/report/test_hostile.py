"""What a guest or a project has to say, in every place of every report: it is shown, and it does nothing."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from vmtasks import events as e
from vmtasks.cli.table import table
from vmtasks.errors import CommandFailed
from vmtasks.report.display.plain import Plain
from vmtasks.report.display.stream import SafeStream
from vmtasks.report.display.terminal import Terminal
from vmtasks.report.files.junit import JunitFile
from vmtasks.report.files.result import ResultFile

NASTY = "a\x1b[2Jb\x1b]0;title\x07c\x9b31md\x85e\u202ef\rg\x00h\x08i\x7fj\udc9bk\u200b\u2066\ufeff\xad\U000e0041\nl"
FORBIDDEN = re.compile(
    r"\x1b\[2J|\x1b\]|[\x00-\x08\x0e-\x1a\x7f-\x9f\u2028-\u202e\udc80-\udc9f\u200b\u2066\ufeff\xad\U000e0041]"
)

EVENTS = (
    e.RunStarted(recipe="r", directory=Path("/runs/1"), rerun="inv r"),
    e.PhaseStarted(machine="m", phase="download", detail=NASTY),
    e.Progress(machine="m", phase="download", done=1, detail=NASTY, at_s=1e12),
    e.PhaseEnded(machine="m", phase="download", detail=NASTY, error=NASTY, duration_s=1),
    e.CaseStarted(case=NASTY),
    e.CommandStarted(machine="m", command=NASTY),
    e.Output(machine="m", stream="stdout", text=f"{NASTY}\n"),
    e.Heartbeat(machine="m", command=NASTY, silent_s=60),
    e.CommandEnded(machine="m", command=NASTY, exit_code=1, duration_s=1),
    e.CaseEnded(case=NASTY, outcome="test-failed", duration_s=1, message=NASTY, details=(NASTY,)),
    e.CaseEnded(case=NASTY, outcome="skipped", duration_s=1, message=NASTY),
    e.CaseStarted(case=NASTY, definition=NASTY),
    e.CaseEnded(
        case=NASTY, outcome="passed", duration_s=1, message=NASTY, definition=NASTY, measurement=NASTY, units=NASTY
    ),
    e.Note(machine="m", text=NASTY, level="warning"),
    e.ConsoleAlarm(machine="m", type="oops", severity="error", message=NASTY, lines=(NASTY,)),
    e.RunEnded(outcome="host", message=NASTY, details=(NASTY,), hint=NASTY, console=(NASTY,)),
)


def shown_plainly() -> str:
    stream = io.StringIO()
    plain = Plain(SafeStream(stream))
    for event in EVENTS:
        plain(event)
    return stream.getvalue()


def drawn() -> str:
    stream = io.StringIO()
    terminal = Terminal(SafeStream(stream), {"TERM": "xterm-256color", "COLUMNS": "200", "LINES": "30"})
    for event in EVENTS:
        terminal(event)
    terminal.close()
    return stream.getvalue()


def written() -> str:
    record = ResultFile(Path("result.json"))
    for event in EVENTS:
        record.hear(event)
    text = record.text()
    assert json.loads(text)["commands"][0]["command"] == NASTY, "as it was, in JSON's escapes"
    return text


def suite() -> str:
    report = JunitFile(Path("junit.xml"))
    for event in EVENTS:
        report.hear(event)
    text = report.text()
    assert text is not None
    ET.fromstring(text.encode())  # noqa: S314 - our own text, and whether it is XML is the question
    return text


@pytest.mark.parametrize("report", [shown_plainly, drawn, written, suite])
def test_nothing_of_it_is_obeyed(report: object) -> None:
    assert callable(report)
    text = report()
    assert FORBIDDEN.findall(text) == []
    assert len(re.findall("ab", text)) >= 3, "it is shown all the same"


def test_an_error_that_nothing_has_shown_speaks_to_no_terminal() -> None:
    problem = CommandFailed("`x` failed: \x1b[2J\x9b", details=("\x1b]0;title\x07",), hint=f"\x7f{NASTY}")
    assert FORBIDDEN.findall(str(problem.message)) == []


def test_a_table_has_its_rows_whatever_is_in_them() -> None:
    shown = table(("WHAT",), [(NASTY,), ("b",)])
    assert FORBIDDEN.findall(shown) == []
    assert len(shown.splitlines()) == 3
