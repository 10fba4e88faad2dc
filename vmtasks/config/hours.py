"""Hours of the week, as a setting has them: ``20:00-08:00``, ``Mon-Fri 18:00-08:00, Sat, Sun``. Local time.

Standard library only: a machine's supervisor looks at them.
"""

from __future__ import annotations

import re
import time
from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES = 24 * 60
_SPAN = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?)?(?:(?:^|\s+)(?P<begin>\d{1,2}:\d\d)-(?P<end>\d{1,2}:\d\d))?"
)


class Span(namedtuple("Span", ("days", "begin_min", "end_min"))):  # noqa: PYI024
    """A time of some days; one that ends before it begins ends on the next day."""

    __slots__ = ()
    if TYPE_CHECKING:
        days: tuple[int, ...]
        """Those on which it begins: 0 is Monday."""
        begin_min: int
        """Minutes after midnight."""
        end_min: int

    def has(self, day: int, minute: int) -> bool:
        """Tell whether a minute of a day of the week is in it."""
        if self.begin_min < self.end_min:
            return day in self.days and self.begin_min <= minute < self.end_min
        yesterday = (day - 1) % len(DAYS)
        return (day in self.days and minute >= self.begin_min) or (yesterday in self.days and minute < self.end_min)


def spans(text: str) -> tuple[Span, ...]:
    """Return the hours that a text names; none of an empty one.

    :raise ValueError: it names none, as a sentence.
    """
    return tuple(_span(part.strip(), text) for part in text.split(",")) if text.strip() else ()


def is_within(hours: tuple[Span, ...], at_s: float) -> bool:
    """Tell whether a time, in seconds since the epoch, is within one of *hours*."""
    now = time.localtime(at_s)
    return any(span.has(now.tm_wday, now.tm_hour * 60 + now.tm_min) for span in hours)


def next_begin_s(hours: tuple[Span, ...], at_s: float) -> float | None:
    """Return when the next of *hours* begins after a time; None if none ever does."""
    return min((one for one in _begins(hours, at_s) if one > at_s), default=None)


def _begins(hours: tuple[Span, ...], at_s: float) -> Iterator[float]:
    today = time.localtime(at_s)
    for ahead in range(len(DAYS) + 1):
        for span in hours:
            if (today.tm_wday + ahead) % len(DAYS) in span.days:
                day = (today.tm_year, today.tm_mon, today.tm_mday + ahead)
                yield time.mktime((*day, span.begin_min // 60, span.begin_min % 60, 0, 0, 0, -1))


def _span(part: str, text: str) -> Span:
    match = _SPAN.fullmatch(part.lower())
    days = _days(match["first"], match["last"]) if match and part else None
    begin_min, end_min = (_minute(match["begin"]), _minute(match["end"])) if match and match["begin"] else (0, _MINUTES)
    if days is None or begin_min is None or end_min is None or begin_min == end_min:
        raise ValueError(f"'{text[:80]}' are no hours: write '20:00-08:00' or 'Mon-Fri 18:00-08:00, Sat, Sun'")
    return Span(days, begin_min, end_min)


def _days(first: str | None, last: str | None) -> tuple[int, ...] | None:
    if first is None:
        return tuple(range(len(DAYS)))
    if first not in DAYS or (last or first) not in DAYS:
        return None
    begin, count = DAYS.index(first), (DAYS.index(last or first) - DAYS.index(first)) % len(DAYS) + 1
    return tuple((begin + number) % len(DAYS) for number in range(count))


def _minute(clock: str) -> int | None:
    hour, minute = map(int, clock.split(":"))
    return hour * 60 + minute if minute < 60 and hour * 60 + minute <= _MINUTES else None  # noqa: PLR2004
