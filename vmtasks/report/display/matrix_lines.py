"""The display of a matrix for a log file or a CI: lines as of any run, each with the combination that it is about."""

from __future__ import annotations

from vmtasks import events as e
from vmtasks.report.display.plain import Plain, written
from vmtasks.report.display.stream import SafeStream
from vmtasks.report.files.rows import WAITING
from vmtasks.report.format import because, duration
from vmtasks.report.summary import summary_of_runs


class MatrixLines(Plain):
    """Writes a line for all that is new of a run, and how each has ended behind all of them."""

    def __init__(self, stream: SafeStream) -> None:
        super().__init__(stream)
        self._runs: dict[str, e.MatrixRun] = {}

    def __call__(self, event: e.Event) -> None:
        """Hear an event."""
        if isinstance(event, e.MatrixRun):
            self._runs[event.combination] = event
            if text := _news(event):
                self._say(e.Event(machine=event.combination, at_s=event.at_s), text)
            return
        if isinstance(event, e.RunEnded):
            self._stream.write("".join(f"{written(line)}\n" for line in summary_of_runs(self._runs.values())))
        super().__call__(event)


def _news(run: e.MatrixRun) -> str:
    """Say how a run stands; nothing where it is only known that there is to be one."""
    if run.duration_s is None:
        return run.doing if run.outcome != WAITING else ""
    return f"{run.outcome} after {duration(run.duration_s)}{because(run.message)}"
