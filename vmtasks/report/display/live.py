"""The region at the bottom of a terminal: what is running now, one row each."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from vmtasks.events import Progress
from vmtasks.report.format import duration, how_far, share

_BAR_CELLS = 24
_MARGIN_CELLS = 3  # a terminal echoes Ctrl-C as ^C behind the last row, which must not wrap by that
_SILENT_FROM_S = 10
_COLOURS = ("cyan", "magenta", "blue", "yellow", "bright_cyan", "bright_magenta", "bright_blue", "bright_yellow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The few characters that the display draws with."""

    good: str
    bad: str
    skipped: str
    begin: str
    edge: str
    bar: str
    rest: str
    spinner: str


FINE = Glyphs(good="✔", bad="✘", skipped="○", begin="▶", edge="│", bar="━", rest="─", spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
ASCII = Glyphs(good="+", bad="x", skipped="-", begin=">", edge="|", bar="#", rest=".", spinner="|/-\\")


@dataclass(slots=True, kw_only=True)
class Running:
    """Something that has begun and not ended; times are monotonic."""

    machine: str
    text: str
    began_s: float
    heard_s: float
    progress: Progress | None = None


class Names:
    """The machines' names, in a column of their own and in a colour each, in the order in which they appear."""

    def __init__(self, glyphs: Glyphs) -> None:
        self._glyphs = glyphs
        self._colours: dict[str, str] = {}
        self._width = 0

    def __call__(self, machine: str) -> tuple[str, str]:
        """Return the text and the style of the column; nothing for what concerns no machine."""
        if not machine:
            return "", ""
        colour = self._colours.setdefault(machine, _COLOURS[len(self._colours) % len(_COLOURS)])
        self._width = max(self._width, len(machine))
        return f"{machine:<{self._width}} {self._glyphs.edge} ", colour


def row(running: Running, names: Names, glyphs: Glyphs, *, now_s: float, width: int) -> Text:
    """Draw one row: a spinner, the machine, what it does, how far it is, for how long; never wider than *width*."""
    frame = glyphs.spinner[int(now_s * 10) % len(glyphs.spinner)]
    tail = _tail(running, glyphs, now_s, bar_cells=min(_BAR_CELLS, width // 5))
    head = Text.assemble((f"{frame} ", "bold"), names(running.machine), no_wrap=True)
    text = Text(running.text, no_wrap=True)
    room = width - _MARGIN_CELLS - head.cell_len - tail.cell_len
    text.truncate(max(room, 8), overflow="ellipsis")
    whole = head.append_text(text).append_text(tail)
    whole.truncate(width - _MARGIN_CELLS, overflow="crop")
    return whole


def _tail(running: Running, glyphs: Glyphs, now_s: float, *, bar_cells: int) -> Text:
    tail = Text("  ")
    if running.progress:
        part = share(running.progress)
        if part is not None:
            full = round(part * bar_cells)
            tail.append(glyphs.bar * full, "green").append(glyphs.rest * (bar_cells - full), "dim")
            tail.append(f" {part:4.0%}  ")
        tail.append(f"{how_far(running.progress)}  ", "dim")
    tail.append(clock(now_s - running.began_s), "dim")
    silent_s = now_s - running.heard_s
    if silent_s >= _SILENT_FROM_S and not running.progress:
        tail.append(f"  silent for {duration(silent_s)}", "dim")
    return tail


def clock(seconds: float) -> str:
    """Write a duration that is still growing: whole seconds, so that it does not flicker."""
    return duration(int(seconds)).replace(".0 s", " s")
