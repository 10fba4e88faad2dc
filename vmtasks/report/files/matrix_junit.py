"""junit.xml of a matrix: the suites of all its runs, each with the combination before its name."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from vmtasks import events as e
from vmtasks.report.files.junit import JunitFile, as_document

JUNIT = "junit.xml"


class MatrixJunit:
    """Puts the files of all runs together when the last one has ended.

    :param path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._recipe = "vmtasks"
        self._runs: dict[str, e.MatrixRun] = {}
        self._has_ended = False

    def hear(self, event: e.Event) -> bool:
        """Take *event* in; the end of the matrix is when to write."""
        match event:
            case e.RunStarted():
                self._recipe = event.recipe
            case e.MatrixRun():
                self._runs[event.combination] = event
            case e.RunEnded():
                self._has_ended = True
                return True
        return False

    def text(self) -> str | None:
        """Return all suites as XML; None as long as the matrix has not ended."""
        if not self._has_ended:
            return None
        root = ET.Element("testsuites")
        for run in self._runs.values():
            for suite in self._suites(run):
                for one in (suite, *suite.iter("testcase")):
                    name = "name" if one is suite else "classname"
                    one.set(name, f"{run.combination}.{one.get(name)}")
                root.append(suite)
        return as_document(root)

    def _suites(self, run: e.MatrixRun) -> list[ET.Element]:
        """Return the suites of a run; one that has written none is itself the one case of its suite."""
        try:
            return list(ET.parse(run.directory / JUNIT).getroot())  # noqa: S314 - a run of ours wrote it
        except (OSError, ET.ParseError):
            alone = JunitFile(run.directory / JUNIT)
        began_s = run.at_s - (run.duration_s or 0.0)
        alone.hear(e.RunStarted(recipe=self._recipe, directory=run.directory, rerun=run.rerun, at_s=began_s))
        alone.hear(e.RunEnded(outcome=run.outcome, message=run.message, at_s=run.at_s))
        return list(ET.fromstring(alone.text() or ""))  # noqa: S314 - made just now
