"""What a kernel says on its console when something is wrong with it: the table, and how a report is found in the text.

Only lines that a kernel's log has count: a time stamp, and the message at once behind it. A process in the guest may
print anything on its console, and so may a test that reads a log aloud. The prompts of an initramfs, of GRUB and of the
kernel's debugger, and what UEFI's firmware says as it dies, count at the beginning of a line. Whatever is found is text
from a stranger, and it is bounded.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vmtasks.events import Severity

MOST_OF_A_TYPE = 5
"""How many alarms of a type one machine raises: a guest can repeat them without end."""
MOST_LINES = 60
"""How many lines of a report an alarm has."""
_BEFORE_A_PROMPT = 8
"""How many lines before a prompt say why there is one."""
LONGEST_LINE = 8192
"""Bytes after which a line is looked at although its end has not come: none is longer."""
_SAME_REPORT_S = 1.0
"""By the kernel's clock: a line that comes later than that behind the last one is of something else."""


class AlarmPattern(NamedTuple):
    """One row of the table; the first that matches a message counts."""

    type: str
    severity: Severity
    pattern: re.Pattern[str]
    """Matched at the beginning of a message, or of a line where it is a prompt."""
    is_prompt: bool = False


def _row(type: str, severity: Severity, pattern: str, *, is_prompt: bool = False) -> AlarmPattern:  # noqa: A002 - the column
    return AlarmPattern(type, severity, re.compile(pattern), is_prompt)


# What a slow host can cause as well, or what does not concern the kernel's own soundness, is a warning.
ALARMS: tuple[AlarmPattern, ...] = (
    _row("panic", "error", r"Kernel panic(?: - not syncing|:)"),
    _row(
        "lockup",
        "warning",
        r"(?:NMI )?(?:watchdog: )?(?:CPU\d+: )?(?:BUG: soft lockup - CPU|Watchdog detected hard LOCKUP)",
    ),
    _row("lockup", "warning", r"BUG: (?:workqueue|(?:spin|rw)lock\S{0,20}) lockup"),
    _row("rcu-stall", "warning", r"(?:rcu: )?INFO: \w+ (?:self-)?detected (?:expedited )?stalls? on (?:CPU|tasks)"),
    _row("rcu-stall", "warning", r"(?:rcu: )?\w+ kthread (?:starved for|timer wakeup didn't happen for) \d"),
    _row("hung-task", "warning", r"INFO: task .{1,200} blocked for more than \d+ seconds"),
    _row("hung-task", "warning", r"INFO: task .{1,200} blocked in I/O wait for more than \d+ seconds"),
    _row("oom", "warning", r"(?:Memory cgroup out|Out) of memory(?: \([^)]{1,40}\))?: Kill(?:ed)? process \d+"),
    _row("oom", "warning", r".{1,40} invoked oom-killer: |Out of memory and no killable processes"),
    _row("oops", "error", r"(?:traps: )?PANIC: double fault"),
    _row("oops", "error", r"(?:BUG: u|U)nable to handle (?:kernel |page fault|NULL pointer|paging request)"),
    _row("oops", "error", r"BUG: kernel NULL pointer dereference"),
    # Only the end of an oops counts them: "Oops: 0002 [#1]", "invalid opcode: 0000 [#1]".
    _row("oops", "error", r"[^\[\]]{1,200}: (?:0x)?[0-9a-f]{1,16} \[#\d+\]"),
    _row("lockdep", "error", r"(?:WARNING: |\[ INFO: |INFO: )possible .{1,60}(?:locking|inversion).{0,40} detected"),
    _row("lockdep", "error", r"WARNING: (?:inconsistent lock state|suspicious RCU usage|chain_key collision)"),
    _row("lockdep", "error", r"(?:WARNING|BUG): bad (?:unlock balance|contention) detected"),
    _row(
        "lockdep",
        "error",
        r"BUG: (?:MAX_(?:LOCK_DEPTH|STACK_TRACE|LOCKDEP_)|looking up invalid subclass|held lock freed)",
    ),
    _row(
        "lockdep",
        "error",
        r"BUG: (?:key \S{1,40} (?:not in|has not been)|lock held (?:at|when))|INFO: trying to register",
    ),
    _row("lockdep", "error", r"WARNING: .{1,60} lock order detected|\[ INFO: .{1,60} lock order detected"),
    _row("lockdep", "error", r"WARNING: (?:held lock freed|lock held when returning|Nested lock was not taken)"),
    _row("lockdep", "error", r"WARNING: \S{1,60} still has locks held|\[ INFO: (?:inconsistent lock|suspicious )"),
    _row("lockdep", "error", r"\[ BUG: [^\]]{1,80}\]|DEBUG_LOCKS_WARN_ON"),
    _row("bug", "error", r"kernel BUG at |BUG: |BUG \S{1,80} \((?:Not t|T)ainted"),
    _row("warning", "warning", r"WARNING: (?:CPU: \d+ PID: \d+ )?at |WARNING: \S{1,200}:\d+ at |UBSAN: "),
    _row("initramfs", "error", r"\(initramfs\)(?: |$)", is_prompt=True),
    _row("grub", "error", r"grub(?: rescue)?>(?: |$)", is_prompt=True),
    _row("kdb", "error", r"Entering kdb \(current=0x[0-9a-f]{1,16}, pid \d{1,10}\)", is_prompt=True),
    _row("kdb", "error", r"(?:\[\d{1,4}\])?kdb>(?: |$)", is_prompt=True),
    _row("firmware", "error", r"Synchronous Exception at ", is_prompt=True),
)

_STAMPED = re.compile(r"\[ *(\d{1,9})\.(\d{6})\](?:\[ *[TC]\d+\])? ?(.*)")
_CONTINUED = re.compile(r" {13,}\S")
"""A further line of a message, which the kernel sets in by as much as its time stamp takes."""
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[ -/]*[0-~])")
_BREAK = re.compile(rb"[\r\n]+")
_WORTH_A_LOOK = re.compile(
    rb"Kernel panic|\bBUG|LOCKUP|INFO: |f memory|oom-killer|nable to|\[#|double fault|WARNING|_WARN_ON|UBSAN"
    rb"|kthread [st]|\(initramfs\)|grub(?: rescue)?>|Entering kdb|kdb>|Synchronous Exc"
)
"""One search for a whole piece of text: nearly none of it is about anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A kernel's report of something wrong."""

    type: str
    severity: Severity
    lines: tuple[str, ...]
    """As they stood there: the one that gave the alarm, and what followed; before a prompt, what came before."""
    message: str
    """That line without its time stamp."""


@dataclass(slots=True)
class _Report:
    row: AlarmPattern
    message: str
    last_s: float
    lines: list[str] = field(default_factory=list)

    def is_followed_by(self, row: AlarmPattern | None, at_s: float) -> bool:
        """Tell whether a line of that time, which may be an alarm itself, is part of this report."""
        if at_s - self.last_s > _SAME_REPORT_S or at_s < self.last_s - _SAME_REPORT_S:
            return False
        # A bug is followed by the oops that ends it.
        return row is None or row.type == self.row.type or (self.row.type == "bug" and row.type == "oops")

    def add(self, line: str) -> None:
        if len(self.lines) < MOST_LINES:
            self.lines.append(line)


class AlarmScanner:
    """Finds alarms in a console's text as it comes, in any pieces."""

    def __init__(self) -> None:
        self._rest = b""
        self._open: _Report | None = None
        self._told: Counter[str] = Counter()
        self._recent: deque[str] = deque(maxlen=_BEFORE_A_PROMPT)
        """The last lines that were not blank."""
        self._prompted = False
        """Whether the line that has begun has given its alarm."""

    @property
    def is_in_report(self) -> bool:
        """Whether more lines of a report may come."""
        return self._open is not None

    def left_out(self) -> tuple[str, ...]:
        """Return the types of which there were more than are told."""
        return tuple(type_ for type_, count in self._told.items() if count > MOST_OF_A_TYPE)

    def feed(self, data: bytes) -> list[Alarm]:
        """Take one piece in; return the alarms whose reports are whole by now."""
        text = self._rest + data
        if self._open is None and _WORTH_A_LOOK.search(text) is None:
            start = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
            recent = _BREAK.split(text[:start][-LONGEST_LINE:])
            self._remember(*map(_text, recent[start > LONGEST_LINE :]))  # no second half of a line
            self._rest = text[start:][-LONGEST_LINE:]
            self._prompted = self._prompted and start == 0
            return []
        *lines, self._rest = _BREAK.split(text)
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        found = [alarm for line in lines for alarm in self._take(_text(line))]
        if not self._prompted:  # no line break ends a prompt
            found += self._prompt(_text(self._rest))
        return found

    def finish(self) -> list[Alarm]:
        """Return the alarm whose report is not known to be whole: nothing has come for a while, or will."""
        rest, self._rest = self._rest, b""
        found = [*self._take(_text(rest))] if rest else []
        return [*found, *self._closed()]

    def pause(self) -> list[Alarm]:
        """Return the alarm whose report stands open; a line that has begun goes on."""
        return list(self._closed())

    def _take(self, line: str) -> Iterator[Alarm]:
        was_prompted, self._prompted = self._prompted, False
        stamped = _STAMPED.search(line)
        if stamped is None:
            if self._open and _CONTINUED.match(line):
                self._open.add(line)
            elif not was_prompted:
                yield from self._prompt(line)
                self._prompted = False
            self._remember(line)
            return
        self._remember(line)
        message = stamped[3]
        at_s = int(stamped[1]) + int(stamped[2]) / 1e6
        row = next((row for row in ALARMS if not row.is_prompt and row.pattern.match(message)), None)
        if self._open and not self._open.is_followed_by(row, at_s):
            yield from self._closed()
        if self._open is None and row is not None:
            self._open = _Report(row, message, at_s)
        if self._open is not None:
            self._open.last_s = at_s
            self._open.add(line[stamped.start() :])
            if _END.match(message):
                yield from self._closed()

    def _prompt(self, line: str) -> Iterator[Alarm]:
        prompts = ((row, row.pattern.match(line)) for row in ALARMS if row.is_prompt)
        row, match = next(((row, match) for row, match in prompts if match), (None, None))
        if row is None or match is None:
            return
        self._prompted = True
        yield from self._closed()
        self._told[row.type] += 1
        if self._told[row.type] == 1:  # each command that is typed there brings it again
            text = match[0].strip()
            yield Alarm(type=row.type, severity=row.severity, lines=(*self._recent, text), message=text)

    def _remember(self, *lines: str) -> None:
        self._recent.extend(line for line in lines if line.strip())

    def _closed(self) -> Iterator[Alarm]:
        report, self._open = self._open, None
        if report is None:
            return
        row = report.row
        self._told[row.type] += 1
        if self._told[row.type] <= MOST_OF_A_TYPE:
            yield Alarm(type=row.type, severity=row.severity, lines=tuple(report.lines), message=report.message)


def alarms_in(text: str) -> tuple[Alarm, ...]:
    """Return the alarms in a console's text, or in a kernel's log with its time stamps."""
    scanner = AlarmScanner()
    return (*scanner.feed(text.encode(errors="replace")), *scanner.finish())


def _text(line: bytes) -> str:
    return _ESCAPES.sub("", line[:LONGEST_LINE].decode(errors="replace"))
