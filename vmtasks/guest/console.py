"""A guest's serial console: what it has printed, what it is waited for to print, and what is typed there."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, GuestLost, HostError, TimedOut, UsageError
from vmtasks.files.regular_file import open_regular
from vmtasks.process.tail import lines_of

_TURN_S = 0.1
_SEARCHED = 1 << 20
"""How many characters back a pattern may match: a guest may print without end."""
_TYPE_LIMIT_S = 10.0


class GuestConsole:
    """The console of one machine, from the first character of its boot; it works without a network and without sshd.

    :param machine: the machine's name.
    :param log: what receives all that is printed there; it need not be there yet.
    :param watch: waits, and raises if the machine is gone.
    :param type_in: types bytes on it, and returns how many the guest has taken.
    :param from_bytes: where in the log this machine's text begins.
    :param limit_bytes: of how much of that text the log has the beginning; None: of any.
    """

    def __init__(
        self,
        machine: str,
        log: Path,
        *,
        watch: Callable[[float], None],
        type_in: Callable[[bytes], int],
        from_bytes: int = 0,
        limit_bytes: int | None = None,
    ) -> None:
        self._machine = machine
        self._log = log
        self._watch = watch
        self._type_in = type_in
        self._read_bytes = from_bytes
        self._from_bytes = from_bytes
        self._limit_bytes = limit_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._seen = 0
        """Up to where the last match went."""

    @property
    def transcript(self) -> str:
        """All that has been printed until now, with the line ends of a terminal."""
        with suppress(OSError):  # not there yet, or gone with the machine
            if self._log.is_file():  # a terminal or a pipe is somebody else's to read
                with self._log.open("rb") as file:
                    file.seek(self._read_bytes)
                    data = file.read()
                self._read_bytes += len(data)
                self._text += self._decoder.decode(data)
        return self._text

    def expect(self, pattern: str | re.Pattern[str], *, timeout_s: float = 60.0) -> re.Match[str]:
        """Wait until a pattern has been printed, and return its match; the next one is looked for behind it.

        :raise TimedOut: it was not within *timeout_s* seconds, or the log is full.
        """
        wanted = re.compile(pattern)
        deadline = Deadline.after(timeout_s)
        searched = -1
        while True:
            if (length := len(self.transcript)) != searched:
                searched = length
                if match := self._found(wanted):
                    return match
            message = ""
            if self._limit_bytes and self._read_bytes - self._from_bytes >= self._limit_bytes:
                message = f"cannot wait for '{wanted.pattern}' on the console of {self._machine}: its log is full "
                message += f"({self._limit_bytes >> 20} MiB), and takes nothing of what is printed now"
            elif deadline.passed:
                message = f"the console of {self._machine} did not show '{wanted.pattern}' within {timeout_s:g} s"
            if message:
                raise TimedOut(message, details=lines_of(self._text[-_SEARCHED:]))
            try:
                self._watch(deadline.within(_TURN_S))
            except GuestLost:
                if match := self._found(wanted):  # what it printed last, before it powered itself off
                    return match
                raise

    def _found(self, wanted: re.Pattern[str]) -> re.Match[str] | None:
        """Return the next match in all that has been printed."""
        text = self.transcript
        match = wanted.search(text, max(self._seen, len(text) - _SEARCHED))
        if match:
            self._seen = match.end()
        return match

    def send(self, line: str = "", *, end: str = "\r") -> None:
        r"""Type a line on the console, and the key that ends it.

        :param end: what ends it: ``"\\r"`` is the key Enter; with an empty one, *line* may be any keys.
        :raise TimedOut: the guest does not read what is typed.
        """
        rest = (line + end).encode()
        deadline = Deadline.after(_TYPE_LIMIT_S)
        while rest := rest[self._typed(rest) :]:
            if deadline.passed:
                raise TimedOut(f"cannot type on the console of {self._machine}: its guest does not read there")
            self._watch(deadline.within(_TURN_S))

    def _typed(self, data: bytes) -> int:
        """Type, and return how many bytes the guest has taken."""
        try:
            return self._type_in(data)
        except BootError:
            self._watch(0.0)  # what became of the machine says more, and whose failure that is
            raise


class HasConsole:
    """What a guest says outside of any command; a machine without a console says nothing."""

    name: str
    _console: GuestConsole | None = None

    @property
    def console(self) -> GuestConsole:
        """Its serial console.

        :raise UsageError: it has none that could be used from here.
        """
        if self._console is None:
            raise UsageError(f"cannot use the console of {self.name}: machines of its kind have none")
        return self._console

    @property
    def alarms(self) -> tuple[events.ConsoleAlarm, ...]:
        """What its kernel has reported on the console until now; of a machine that has ended, all of it."""
        return ()


def follow(log: Path, is_alive: Callable[[], bool], show: Callable[[str], object], pause: Callable[[], object]) -> None:
    """Show what a console's log has and what is added to it, until its machine has ended.

    :raise HostError: the log cannot be read, or is no file: a terminal or a pipe is somebody else's to read.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        fd = open_regular(log)
    except OSError as problem:
        raise HostError(f"cannot read the console's log {log}: {problem.strerror}") from problem
    with os.fdopen(fd, "rb", buffering=0) as file:
        while True:
            was_alive = is_alive()  # asked first: what it printed last must have been read
            while data := file.read(1 << 16):
                show(decoder.decode(data))
            if not was_alive:
                return
            pause()
