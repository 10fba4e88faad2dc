"""Alarms of one machine, told while it runs: each wait for it looks into the log of its console."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vmtasks import events
from vmtasks.errors import TestFailed
from vmtasks.machine.alarms import LONGEST_LINE, Alarm, AlarmScanner
from vmtasks.ssh.secret import Mask

_PIECE_BYTES = 1 << 20
TOLD_LETTERS = 300
"""How much of a line is told."""
_SILENCE_S = 2.0
"""How long a report may stop before it is told as it is."""


class ConsoleAlarms:
    """Follows the log of a machine's console, from where it ends now, and tells of each alarm in it.

    :param machine: the machine's name.
    :param console: the log, which need not be there yet; a terminal or a pipe is somebody else's to read.
    :param listens: whether it is looked at.
    """

    def __init__(self, machine: str, console: Path, *, listens: bool = True) -> None:
        self._machine = machine
        self._console = console
        self._listens = listens
        self._fd = -1
        self._scanner = AlarmScanner()
        self._heard_s = time.monotonic()
        self._busy = threading.Lock()
        self.found: list[events.ConsoleAlarm] = []
        """Those that have been told."""
        self.secrets: Iterable[bytes] = ()
        """What has stars in its place."""
        self.from_bytes = 0
        """Where in the log this machine's text begins."""
        with suppress(OSError):
            self.from_bytes = console.stat().st_size

    def look(self) -> None:
        """Tell of what has come since the last look; any thread may, and none waits for another."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            self._read(_PIECE_BYTES)
        finally:
            self._busy.release()

    def close(self) -> None:
        """Tell of all that is left in the log."""
        with self._busy:
            while self._read(_PIECE_BYTES):
                pass
            self._tell(self._scanner.finish())
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
        for type_ in self._scanner.left_out():
            text = f"there were more alarms of the type {type_} on the console than are told"
            events.emit(events.Note(machine=self._machine, text=text, level="warning"))

    def _read(self, most_bytes: int) -> bool:
        """Look at the next piece, if there is one."""
        data = b""
        if not self._listens:
            return False
        with suppress(OSError):  # evidence, and not the run: as with what writes it
            if self._fd < 0:  # held open, because the log may go with the machine
                if not self._console.is_file():
                    return False
                self._fd = os.open(self._console, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
                os.lseek(self._fd, self.from_bytes, os.SEEK_SET)
            data = os.read(self._fd, most_bytes)
        now_s = time.monotonic()
        if data:
            self._heard_s = now_s
            self._tell(self._scanner.feed(data))
        elif self._scanner.is_in_report and now_s - self._heard_s > _SILENCE_S:
            self._tell(self._scanner.pause())
        return bool(data)

    def _tell(self, alarms: Iterable[Alarm]) -> None:
        for alarm in alarms:
            told = events.ConsoleAlarm(
                machine=self._machine,
                type=alarm.type,
                severity=alarm.severity,
                message=self._masked(alarm.message),
                lines=tuple(map(self._masked, alarm.lines)),
            )
            self.found.append(told)
            events.emit(told)

    def _masked(self, line: str) -> str:
        """Return the beginning of a line, in which secrets have stars."""
        data = line.encode(errors="replace")
        is_whole = len(data) < LONGEST_LINE // 2  # one that breaks off may do so within a secret
        return Mask(self.secrets).take(data, final=is_whole).decode(errors="replace")[:TOLD_LETTERS]


@contextmanager
def following(machine: str, console: Path, *, listens: bool = True) -> Iterator[ConsoleAlarms]:
    """Yield the alarms of a machine; the block is to end after the machine.

    :param listens: whether there are to be any.
    """
    alarms = ConsoleAlarms(machine, console, listens=listens)
    try:
        yield alarms
    finally:
        alarms.close()


def expect_none(machine: str, alarms: Iterable[Alarm | events.ConsoleAlarm]) -> None:
    """See that a machine's kernel has reported no error.

    :raise TestFailed: it has. What runs in a guest can cause it, so it is never its host's failure.
    """
    errors = [alarm for alarm in alarms if alarm.severity == "error"]
    if errors:
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise TestFailed(
            f"the kernel of {machine} reports an error ({errors[0].type}): {errors[0].message}{more}",
            details=errors[0].lines,
            hint='alarms = "warn" under [machine] (VMTASKS_ALARMS) lets such a run pass',
        )
