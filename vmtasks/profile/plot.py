"""A profile as a picture: processor time, memory and drives over time, as an SVG of a few kilobytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from vmtasks.profile.sample import Sample
from vmtasks.profile.usage import ENDED, Points, block_series, by_thread, cpu_series, memory_series

_MIB = 1024 * 1024
_WIDTH, _PANEL, _LEFT, _RIGHT, _TOP, _GAP = 720, 120, 64, 180, 44, 44
_SPAN = _WIDTH - _LEFT - _RIGHT
_COLOURS = ("#0b6fa4", "#c4551b", "#3a7d34", "#7a4fa3", "#8a6d00", "#555555")
"""Dark enough for a white ground, and told apart also by those who see no red or green: by their lightness."""
_MOST_THREADS = len(_COLOURS) - 1
_MOST_POINTS = _SPAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One diagram of the picture."""

    title: str
    """With the unit."""
    lines: Mapping[str, Points]
    reason: str = ""
    """Why there are no lines."""

    @property
    def top(self) -> float:
        """The end of its scale: the next round number above all values."""
        return round_up(max((value for points in self.lines.values() for _, value in points), default=0.0))


def plot(machine: str, samples: Sequence[Sample]) -> str:
    """Return the picture of samples, of which there are two or more."""
    return drawn(f"{machine}: what its QEMU took of the host", panels(samples))


def panels(samples: Sequence[Sample]) -> tuple[Panel, ...]:
    """Return what is drawn of samples."""
    times = by_thread(samples)
    busiest = [name for name, seconds in times.items() if seconds > 0 and name != ENDED][:_MOST_THREADS]
    cpu = {"all of QEMU": cpu_series(samples), **{name: cpu_series(samples, name) for name in busiest}}
    reason = next((sample.not_supported.get("block", "") for sample in samples if sample.block is None), "")
    return (
        Panel(title="processor time, % of one core", lines=cpu),
        Panel(title="memory, MiB", lines=_scaled(memory_series(samples))),
        Panel(title="drives of the machine, MiB/s", lines=_scaled(block_series(samples)), reason=reason),
    )


def drawn(title: str, found: Sequence[Panel]) -> str:
    """Return panels of one time, one below the other, as an SVG."""
    end_s = max((at_s for panel in found for points in panel.lines.values() for at_s, _ in points), default=0.0)
    height = _TOP + len(found) * (_PANEL + _GAP)
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="11">',
        f"<title>{_text(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14">{_text(title)}</text>',
    ]
    for number, panel in enumerate(found):
        body += _panel(panel, _TOP + number * (_PANEL + _GAP), end_s)
    return "\n".join([*body, "</svg>", ""])


def round_up(value: float) -> float:
    """Return the least of 1, 2, 5, 10, 20, 50, … times a power of ten that is not less than *value*; 1 for nothing."""
    if value <= 0:
        return 1.0
    step = 0.01
    while True:
        for factor in (1, 2, 5):
            if factor * step >= value:
                return factor * step
        step *= 10


def _panel(panel: Panel, top: int, end_s: float) -> Iterator[str]:
    bottom = top + _PANEL
    yield f'<text x="{_LEFT}" y="{top - 6}" font-weight="bold">{_text(panel.title)}</text>'
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * _PANEL
        yield f'<line x1="{_LEFT}" y1="{y:g}" x2="{_LEFT + _SPAN}" y2="{y:g}" stroke="#cccccc"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:g}" text-anchor="end">{share * panel.top:g}</text>'
    yield f'<text x="{_LEFT}" y="{bottom + 14}">0</text>'
    yield f'<text x="{_LEFT + _SPAN}" y="{bottom + 14}" text-anchor="end">{end_s:.1f} s</text>'
    if not panel.lines:
        yield f'<text x="{_LEFT + 8}" y="{top + 20}">not supported: {_text(panel.reason)}</text>'
    key = _LEFT + _SPAN + 10
    for number, (name, points) in enumerate(panel.lines.items()):
        stroke, y = f'stroke="{_COLOURS[number]}"', top + 10 + 16 * number
        path = _points(panel, points, bottom, end_s)
        yield f'<polyline fill="none" {stroke} stroke-width="1.5" points="{path}"/>'
        yield f'<line x1="{key}" y1="{y - 4}" x2="{key + 16}" y2="{y - 4}" {stroke} stroke-width="3"/>'
        yield f'<text x="{key + 22}" y="{y}">{_text(name)}</text>'


def _points(panel: Panel, points: Points, bottom: int, end_s: float) -> str:
    every = -(-len(points) // _MOST_POINTS) or 1  # more of them than pixels would show nothing more
    return " ".join(
        f"{_LEFT + _SPAN * at_s / (end_s or 1):.1f},{bottom - _PANEL * value / panel.top:.1f}"
        for at_s, value in points[::every]
    )


def _scaled(lines: Mapping[str, Points]) -> dict[str, Points]:
    return {name: tuple((at_s, value / _MIB) for at_s, value in points) for name, points in lines.items()}


def _text(value: str) -> str:
    """Return text as XML has it, without what XML cannot have."""
    return escape("".join(letter if letter.isprintable() else "?" for letter in value))
