"""The display of a matrix for people: a table with a row for each run, from the first to the last moment."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vmtasks import events as e
from vmtasks.errors import Outcome
from vmtasks.report.display.live import clock
from vmtasks.report.display.stream import SafeStream
from vmtasks.report.display.terminal import Terminal
from vmtasks.report.files.rows import WAITING
from vmtasks.report.format import because, duration
from vmtasks.report.summary import summary_of_runs

_MARGIN_CELLS = 3  # as in live.py: ^C must not wrap the last row


class MatrixTable(Terminal):
    """Keeps the table at the bottom until the matrix ends; then it prints, for good, what its runs came to."""

    def __init__(self, sink: SafeStream, environ: Mapping[str, str]) -> None:
        super().__init__(sink, environ)
        self._runs: dict[str, e.MatrixRun] = {}

    def __call__(self, event: e.Event) -> None:
        """Hear an event."""
        if not isinstance(event, e.MatrixRun):
            super().__call__(event)
            return
        with self._lock:
            before = self._runs.get(event.combination)
            self._runs[event.combination] = event
            if before is None or before.outcome != event.outcome:
                self._begin(("run", event.combination, ""), event.outcome)
            self._match_region()

    def _run_ended(self, event: e.RunEnded) -> None:
        self.close()
        self._sum_up(summary_of_runs(self._runs.values()))
        super()._run_ended(event)

    def _region(self) -> Group:
        now_s = time.monotonic()
        table = Table.grid(padding=(0, 1), pad_edge=False)
        table.width = max(1, self._console.width - _MARGIN_CELLS)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, max_width=max(8, self._console.width // 2))
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column(no_wrap=True, justify="right")
        for running in self._running.values():
            if run := self._runs.get(running.machine):
                table.add_row(*self._cells(run, now_s - running.began_s, now_s))
        return Group(table)

    def _cells(self, run: e.MatrixRun, since_s: float, now_s: float) -> tuple[Text, Text, Text, Text]:
        """Return a row: a mark, the combination, what it does or came to, and for how long."""
        name = Text.assemble(self._names(run.combination))
        name.rstrip()
        if run.outcome == WAITING:
            return Text(" "), name, Text(WAITING, "dim"), Text("")
        if run.duration_s is None:
            spinner = self._glyphs.spinner[int(now_s * 10) % len(self._glyphs.spinner)]
            return Text(spinner, "bold"), name, Text(run.doing), Text(clock(since_s), "dim")
        mark, style = (self._glyphs.good, "green") if run.outcome == Outcome.PASSED else (self._glyphs.bad, "red")
        return (
            Text(mark, style),
            name,
            Text(run.outcome + because(run.message), style),
            Text(duration(run.duration_s), "dim"),
        )
