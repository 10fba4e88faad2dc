"""The picture of a run has what stands on the screen in the end."""

from __future__ import annotations

import io
import runpy
from pathlib import Path

from vmtasks import events
from vmtasks.report.display.stream import SafeStream
from vmtasks.report.display.terminal import Terminal

PICTURE = runpy.run_path(str(Path(__file__).resolve().parents[2] / "docs/picture.py"))


def test_a_picture_has_what_stays_and_not_what_was_drawn_over() -> None:
    typescript = io.StringIO(newline="")
    terminal = Terminal(SafeStream(typescript), {"TERM": "xterm-256color", "COLUMNS": "110", "LINES": "30"})
    for event in (
        events.CaseStarted(case="build"),
        events.PhaseStarted(machine="m", phase="slot"),
        events.PhaseEnded(machine="m", phase="slot", duration_s=0.1),
        events.CommandStarted(machine="m", command="make"),
        events.Output(machine="m", stream="stdout", text="one\ntwo\n"),
        events.CommandEnded(machine="m", command="make", exit_code=0, duration_s=2.0),
        events.CaseEnded(case="build", outcome="passed", duration_s=3.0),
    ):
        terminal(event)
    terminal.close()
    lines = PICTURE["screen"](typescript.getvalue().replace("\n", "\r\n"))
    shown = [PICTURE["Text"].from_ansi(line).plain.strip() for line in lines]
    assert shown == [
        "✔ m │ slot  0.1 s",
        "m │ $ make",
        "m │ one",
        "m │ two",
        "✔ m │ make  2.0 s",
        "✔ case build  3.0 s",
    ]
    assert "make test-in-vm" in PICTURE["drawn"](lines, "make test-in-vm").replace("&#160;", " ")
