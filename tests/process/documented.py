"""A call of a recipe as a run has it: its events heard, its documents written, its error kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vmtasks import VmtasksError, events
from vmtasks.report.files.document import document
from vmtasks.report.files.junit import JunitFile
from vmtasks.report.files.result import ResultFile
from vmtasks.run.options import RecipeOptions
from vmtasks.run.run import Run


@dataclass(frozen=True, kw_only=True)
class DocumentedCall:
    """What came of a call."""

    problem: VmtasksError | None
    directory: Path
    heard: list[events.Event]
    artifacts: list[Path]


def documented(recipe: str, directory: Path, call: Callable[[Run], object]) -> DocumentedCall:
    """Make a directory and have *call* be a run of a recipe whose results are there."""
    directory.mkdir()
    run = Run(recipe=recipe, flags=RecipeOptions(), directory=directory)
    heard: list[events.Event] = []
    problem: VmtasksError | None = None
    with (
        events.listening(heard.append),
        document(ResultFile(directory / "result.json")),
        document(JunitFile(directory / "junit.xml")),
    ):
        events.emit(events.RunStarted(recipe=recipe, directory=directory, rerun=""))
        try:
            call(run)
        except VmtasksError as raised:
            problem = raised
        outcome = problem.outcome if problem else "passed"
        events.emit(events.RunEnded(outcome=outcome, message=str(problem or "")))
    return DocumentedCall(problem=problem, directory=directory, heard=heard, artifacts=run.artifacts)
