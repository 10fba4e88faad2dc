"""The display for people: what is running stays at the bottom, what is over scrolls by above it.

Everything that a guest may have had a hand in is shown as it is, never as markup, and made harmless first.
A phase named :data:`HANDED_OVER` gives the terminal away until it ends: an interactive shell needs it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import singledispatchmethod
from pathlib import Path
from typing import IO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from vmtasks import events as e
from vmtasks.errors import Outcome
from vmtasks.report.display.backlog import Backlog
from vmtasks.report.display.live import ASCII, FINE, Glyphs, Names, Running, row
from vmtasks.report.display.stream import SafeStream
from vmtasks.report.files.junit import SKIPPED
from vmtasks.report.format import case_name, complaint, duration, findings, is_told_by_a_note, named, ready, relative
from vmtasks.report.sanitize import WholeLines, one_line, sanitized
from vmtasks.report.summary import Line, summary
from vmtasks.report.timings import Times

HANDED_OVER = "shell"

_TICK_S = 0.1
_STYLES = {"good": "bold green", "bad": "bold red", "heading": "bold", "quote": "", "fact": "", "gap": ""}

Part = str | tuple[str, str] | Text


@contextmanager
def showing(terminal: Terminal) -> Iterator[Terminal]:
    """Yield the display's listener; afterwards nothing is drawn any more, and the cursor is back."""
    over = threading.Event()
    ticker = threading.Thread(target=terminal.draw_until, args=(over,), name="display", daemon=True)
    ticker.start()
    try:
        yield terminal
    finally:
        over.set()
        terminal.close()
        ticker.join()


class Terminal:
    """Turns events into permanent lines and rows of the region. Two threads draw: the emitting one, and the ticker."""

    def __init__(self, sink: SafeStream, environ: Mapping[str, str]) -> None:
        self._console = Console(
            file=cast("IO[str]", sink),
            force_terminal=True,
            force_interactive=True,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
            _environ=environ,
        )
        self._glyphs = ASCII if self._console.options.ascii_only else FINE
        self._names = Names(self._glyphs)
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._running: dict[tuple[str, str, str], Running] = {}
        self._lines = WholeLines()
        self._backlog = Backlog()
        self._announced: set[str] = set()
        self._logs: dict[str, Path | None] = {}
        self._started: e.RunStarted | None = None
        self._times = Times()

    def __call__(self, event: e.Event) -> None:
        """Hear an event."""
        with self._lock:
            if isinstance(event, e.Output):
                self._output(event)
                return
            self._times(event)
            self._handle(event)
            self._match_region()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the terminal alone inside the block: something else writes to it."""
        with self._lock:
            self._draw_backlog(everything=True)
            self._end_region()
            yield
            self._match_region()

    def draw_until(self, over: threading.Event) -> None:
        """Keep the display in motion; the engine never waits for it longer than for one drawing."""
        while not over.wait(_TICK_S):
            with self._lock:
                self._draw_backlog()
                if self._live:
                    self._live.refresh()

    def close(self) -> None:
        """Show what is left, and leave the terminal as it was."""
        with self._lock:
            for machine in self._lines.machines():
                self._flush(machine)
            self._running.clear()
            self._end_region()
            self._draw_backlog(everything=True)
            self._console.show_cursor(True)  # also where a second Ctrl-C has cut the region's own end short

    @singledispatchmethod
    def _handle(self, event: e.Event) -> None:
        """Show what an event tells; of those without a method below, nothing."""

    @_handle.register
    def _(self, event: e.RunStarted) -> None:
        self._started = event
        self._say((f"{self._glyphs.begin} {event.recipe}", "bold"), (f"  {relative(event.directory)}", "dim"))

    @_handle.register
    def _(self, event: e.PhaseStarted) -> None:
        self._begin(("phase", event.machine, event.phase), named(event))

    @_handle.register
    def _(self, event: e.Progress) -> None:
        running = self._running.get(("phase", event.machine, event.phase))
        if running:
            running.progress = event

    @_handle.register
    def _(self, event: e.PhaseEnded) -> None:
        self._running.pop(("phase", event.machine, event.phase), None)
        self._over(event.machine, named(event), event.duration_s, error=event.error)

    @_handle.register
    def _(self, event: e.MachineStarted) -> None:
        self._say("  ", self._names(event.machine), (sanitized(ready(event)), "dim"))

    @_handle.register
    def _(self, event: e.CommandStarted) -> None:
        self._begin(("command", event.machine, event.command), one_line(event.command))
        self._announced.discard(event.machine)
        self._logs[event.machine] = event.log

    @_handle.register
    def _(self, event: e.CommandEnded) -> None:
        self._command_ended(event)

    @_handle.register
    def _(self, event: e.Heartbeat) -> None:
        self._flush(event.machine)  # a prompt, perhaps, that waits for an answer that will not come

    @_handle.register
    def _(self, event: e.CaseStarted) -> None:
        name = case_name(event)
        self._begin(("case", event.machine, name), f"case {name}")

    @_handle.register
    def _(self, event: e.CaseEnded) -> None:
        self._case_ended(event)

    @_handle.register
    def _(self, event: e.Note) -> None:
        mark, style = ("! ", "yellow") if event.level == "warning" else ("  ", "dim")
        self._say((mark, style), self._names(event.machine), (sanitized(event.text), style))

    @_handle.register
    def _(self, event: e.ConsoleAlarm) -> None:
        if not is_told_by_a_note(event):
            style = "red" if event.severity == "error" else "yellow"
            self._say(("! ", style), self._names(event.machine), (complaint(event), style))

    @_handle.register
    def _(self, event: e.RunEnded) -> None:
        self._run_ended(event)

    def _begin(self, key: tuple[str, str, str], text: str) -> None:
        now_s = time.monotonic()
        self._running[key] = Running(machine=key[1], text=text, began_s=now_s, heard_s=now_s)

    def _over(self, machine: str, text: str, duration_s: float, *, error: str = "", bad: str = "red") -> None:
        """Say that something is over; *error* tells what was wrong with it, and *bad* how loudly to say so."""
        mark = (f"{self._glyphs.bad} ", bad) if error else (f"{self._glyphs.good} ", "green")
        reason = f"  {one_line(error)}" if error else ""
        self._say(mark, self._names(machine), text, (f"  {duration(duration_s)}", "dim"), (reason, bad))

    def _output(self, event: e.Output) -> None:
        for running in self._commands(event.machine):
            running.heard_s = time.monotonic()
        self._add(event.machine, self._lines.add(event))

    def _flush(self, machine: str) -> None:
        """Show a line that has begun as if it had ended."""
        self._add(machine, self._lines.rest(machine))

    def _add(self, machine: str, lines: str) -> None:
        """Have *lines* drawn, below the command that prints them; a silent command needs no such head."""
        if lines and machine not in self._announced:
            self._announced.add(machine)
            for running in self._commands(machine):
                self._say("  ", self._names(machine), ("$ ", "dim"), (running.text, "bold"))
        self._backlog.add(machine, lines)

    def _commands(self, machine: str) -> list[Running]:
        return [running for key, running in self._running.items() if key[:2] == ("command", machine)]

    def _command_ended(self, event: e.CommandEnded) -> None:
        self._flush(event.machine)
        self._running.pop(("command", event.machine, event.command), None)
        status = {0: "", None: "status unknown"}.get(event.exit_code, f"status {event.exit_code}")
        # Not as loud as a failed phase or case: the recipe may have wanted that status.
        self._over(event.machine, one_line(event.command), event.duration_s, error=status, bad="yellow")

    def _case_ended(self, event: e.CaseEnded) -> None:
        name = case_name(event)
        self._running.pop(("case", event.machine, name), None)
        case = f"case {name}"
        if event.outcome == SKIPPED:
            reason = f"  skipped{': ' if event.message else ''}{one_line(event.message)}"
            self._say(f"{self._glyphs.skipped} ", self._names(event.machine), case, (reason, "dim"))
            return
        if event.outcome == Outcome.PASSED:
            self._over(event.machine, case + findings(event), event.duration_s)
        else:
            self._over(event.machine, case, event.duration_s, error=event.outcome + findings(event))

    def _run_ended(self, event: e.RunEnded) -> None:
        self.close()
        self._sum_up(summary(self._started, event, self._times.text()))

    def _sum_up(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._console.print(_written(line, self._glyphs))

    def _say(self, *parts: Part) -> None:
        """Print a permanent line, below all output that came before it."""
        self._draw_backlog(everything=True)
        self._console.print(Text.assemble(*parts))

    def _draw_backlog(self, *, everything: bool = False) -> None:
        draught = self._backlog.take(time.monotonic(), everything=everything)
        drawn = [self._left_out(machine, count) for machine, count in draught.left_out.items()]
        drawn += [Text.assemble("  ", self._names(machine), line) for machine, line in draught.lines]
        if drawn:
            self._console.print(*drawn, sep="\n")

    def _left_out(self, machine: str, count: int) -> Text:
        log = self._logs.get(machine)
        where = f"; all are in {relative(log)}" if log else ""
        return Text.assemble("  ", self._names(machine), (f"… {count:,} lines left out{where}", "dim italic"))

    def _match_region(self) -> None:
        """Have a region exactly as long as something runs that does not need the terminal for itself."""
        wanted = bool(self._running) and not any(key[2] == HANDED_OVER for key in self._running)
        if wanted and not self._live:
            self._live = Live(
                console=self._console,
                get_renderable=self._region,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)
        elif not wanted:
            self._end_region()

    def _end_region(self) -> None:
        if self._live:
            live, self._live = self._live, None
            live.stop()

    def _region(self) -> Group:
        now_s, width = time.monotonic(), self._console.width
        rows = (row(each, self._names, self._glyphs, now_s=now_s, width=width) for each in self._running.values())
        return Group(*rows)


def _written(line: Line, glyphs: Glyphs) -> Text:
    style = _STYLES[line.role]
    match line.role:
        case "good" | "bad":
            mark = glyphs.good if line.role == "good" else glyphs.bad
            return Text.assemble((f"{mark} {line.text}", style))
        case "quote":
            return Text.assemble((f"    {glyphs.edge} ", "dim"), line.text)
        case "fact":
            return Text.assemble((f"  {line.label:<7} ", "dim"), line.text)
        case _:
            return Text.assemble((f"  {line.text}" if line.text else "", style))
