"""junit.xml: the run as a suite of test cases, for a CI that counts them.

A failure is one of the project's own commands; whatever else went wrong is an error. A run without
cases is itself the one case of its suite, and so is a run that ended as none of its cases did. What kernels of guests
have reported on their consoles is the suite's ``system-err``, whatever became of the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from vmtasks import events as e
from vmtasks.errors import Outcome
from vmtasks.report.format import complaint
from vmtasks.report.sanitize import sanitized

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

SKIPPED = "skipped"
_MOST_ALARMS = 1_000


class JunitFile:
    """Collects the cases of a run and writes them at its end.

    :param path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._started: e.RunStarted | None = None
        self._open: dict[tuple[str, ...], e.CaseStarted] = {}
        self._cases: list[e.CaseEnded] = []
        self._alarms: list[e.ConsoleAlarm] = []
        self._ended: e.RunEnded | None = None

    def hear(self, event: e.Event) -> bool:
        """Take *event* in; the end of the run is when to write."""
        match event:
            case e.RunStarted():
                self._started = event
            case e.CaseStarted():
                self._open[_key(event)] = event
            case e.CaseEnded():
                self._open.pop(_key(event), None)
                self._cases.append(event)
            case e.ConsoleAlarm() if len(self._alarms) < _MOST_ALARMS:
                self._alarms.append(event)
            case e.RunEnded():
                self._ended = event
                return True
        return False

    def text(self) -> str | None:
        """Return the suite as XML; None as long as the run has not ended."""
        if self._ended is None:
            return None
        recipe = self._started.recipe if self._started else "vmtasks"
        began_s = self._started.at_s if self._started else self._ended.at_s
        suite = _suite(recipe, [*self._cases, *self._of_the_run(self._ended, recipe, began_s)])
        suite.set("time", _seconds(self._ended.at_s - began_s))
        suite.set("timestamp", datetime.fromtimestamp(began_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S"))
        if self._alarms:
            ET.SubElement(suite, "system-err").text = "\n\n".join(map(_complaint, self._alarms))
        root = ET.Element("testsuites")
        root.append(suite)
        return as_document(root)

    def _of_the_run(self, ended: e.RunEnded, recipe: str, began_s: float) -> Iterator[e.CaseEnded]:
        """Give the run's own end to the cases that it cut short, else to the run itself if no case tells it."""
        run = e.CaseStarted(case=recipe, at_s=began_s)
        told = {case.outcome for case in self._cases}
        is_told = bool(told) if ended.outcome == Outcome.PASSED else ended.outcome in told
        for case in self._open.values() or (() if is_told else (run,)):
            yield e.CaseEnded(
                case=case.case,
                machine=case.machine,
                definition=case.definition,
                outcome=ended.outcome,
                duration_s=ended.at_s - case.at_s,
                message=ended.message,
                details=(*ended.details, *ended.console),
            )


def as_document(root: ET.Element) -> str:
    """Return the text of a file with this element in it."""
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(recipe: str, cases: list[e.CaseEnded]) -> ET.Element:
    words = [_word(case.outcome) for case in cases]
    suite = ET.Element("testsuite", name=_legal(recipe), tests=str(len(cases)))
    for count, word in (("failures", "failure"), ("errors", "error"), ("skipped", SKIPPED)):
        suite.set(count, str(words.count(word)))
    for case, verdict in zip(cases, words, strict=True):
        place = (recipe, case.machine, case.definition) if case.definition else (recipe,)
        row = ET.SubElement(suite, "testcase", classname=_legal(".".join(filter(None, place))), name=_legal(case.case))
        row.set("time", _seconds(case.duration_s))
        if case.measurement:
            properties = ET.SubElement(row, "properties")
            for name, value in (("measurement", case.measurement), ("units", case.units)):
                ET.SubElement(properties, "property", name=name, value=_legal(value))
        if verdict is None:
            continue
        reason = ET.SubElement(row, verdict, message=_legal(case.message))
        if verdict != SKIPPED:
            reason.set("type", _legal(case.outcome))
            reason.text = _legal("\n".join(case.details)) or None
    return suite


def _complaint(alarm: e.ConsoleAlarm) -> str:
    return _legal("\n".join([f"{alarm.machine}: {complaint(alarm)}", *alarm.lines]))


def _key(case: e.CaseStarted | e.CaseEnded) -> tuple[str, ...]:
    return case.machine, case.definition, case.case


def _word(outcome: str) -> str | None:
    """Return JUnit's word for *outcome*; a pass has none."""
    words = {Outcome.PASSED.value: None, SKIPPED: SKIPPED, Outcome.FAILED.value: "failure"}
    return words.get(outcome, "error")


def _legal(text: str) -> str:
    return _ILLEGAL.sub("", sanitized(text))


def _seconds(duration_s: float) -> str:
    return f"{max(0.0, duration_s):.3f}"
