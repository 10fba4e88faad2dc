"""A person's terminal, or what is piped into a program, joined to a line such as a serial console's.

Source: termios(3), tty(4).
"""

from __future__ import annotations

import os
import select
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto

from vmtasks.errors import TimedOut

ESCAPE = b"\x1d"
"""Ctrl-], which ends it, as with telnet and virsh console."""
QUIET_S = 2.0
"""How long a line must be silent, after what was piped into it, until all is taken to be over."""
DRAIN_LIMIT_S = 30.0
"""How long one may go on that is never silent."""
TYPE_LIMIT_S = 10.0
"""How long a line may take nothing of what is piped into it."""
_OUTPUT_FLAGS = 1
"""Where tcgetattr has them."""
_TURN_S = 0.25
_READ_BYTES = 4096
_PIPED_AHEAD_BYTES = 64 * 1024


class Ended(Enum):
    """What ended it."""

    BY_ESCAPE = auto()
    """Ctrl-]."""
    BY_INPUT = auto()
    """What was piped into it is over, and the line is silent."""
    BY_LINE = auto()
    """The other end of the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyboard:
    """Where keys come from."""

    fd: int
    is_terminal: bool
    """Whether a person types there, each key as it is; else lines come through a pipe."""


def keyboard_of(fd: int) -> Keyboard:
    """Return what is at a descriptor."""
    return Keyboard(fd=fd, is_terminal=os.isatty(fd))


@contextmanager
def raw(keyboard: Keyboard, *, also_output: bool = True) -> Iterator[None]:
    """Have a terminal pass each key on as it is, also Ctrl-C, until the end of the block; a pipe does so anyway.

    :param also_output: whether what is shown goes to it as it is; else it makes ends of lines as usual.
    """
    if not keyboard.is_terminal:
        yield
        return
    before = termios.tcgetattr(keyboard.fd)
    try:
        tty.setraw(keyboard.fd, termios.TCSANOW)
        if not also_output:
            settings = termios.tcgetattr(keyboard.fd)
            settings[_OUTPUT_FLAGS] = before[_OUTPUT_FLAGS]
            termios.tcsetattr(keyboard.fd, termios.TCSANOW, settings)
        yield
    finally:
        with suppress(termios.error):  # the terminal is gone: there is nothing to restore
            termios.tcsetattr(keyboard.fd, termios.TCSANOW, before)  # at once: it may have been stopped


def join(
    line: int,
    keyboard: Keyboard | None,
    show: Callable[[bytes], object],
    *,
    is_alive: Callable[[], bool] = lambda: True,
) -> Ended:
    """Show what comes over a line and send what is typed there, until one of them ends; return which did.

    :param line: a descriptor that does not block.
    :param keyboard: None: nothing is typed.
    :param is_alive: whether there is anybody at the other end, where the line itself does not tell.
    :raise TimedOut: the other end does not take what is piped into the line.
    """
    typed = _Typed(keyboard)
    heard_s = time.monotonic()
    while True:
        was_alive = is_alive()  # asked first: its last words must have been shown
        ready, _, _ = select.select([line, *typed.waits_for()], [line] if typed.keys else [], [], _TURN_S)
        if line in ready:
            if not (data := _read(line)):
                return Ended.BY_LINE
            show(data)
            heard_s = time.monotonic()
        elif not was_alive:
            return Ended.BY_LINE
        if keyboard and keyboard.fd in ready:
            typed.read(keyboard)
        typed.send(line)
        if typed.has_escaped:
            return Ended.BY_ESCAPE
        if typed.is_over and time.monotonic() - max(heard_s, typed.sent_s) > QUIET_S:
            return Ended.BY_INPUT
        if typed.is_over and time.monotonic() - typed.sent_s > DRAIN_LIMIT_S:
            return Ended.BY_INPUT


class _Typed:
    """What was typed and not sent yet."""

    def __init__(self, keyboard: Keyboard | None) -> None:
        self._keyboard = keyboard
        self._is_open = keyboard is not None
        self.keys = b""
        self.has_escaped = False
        self.sent_s = time.monotonic()
        """When the line last took some of it, or there was nothing to take."""

    @property
    def is_over(self) -> bool:
        """Whether all was sent that there will ever be."""
        return self._keyboard is not None and not self._is_open and not self.keys

    def waits_for(self) -> list[int]:
        """Return what is to be read from: a terminal always, because of Ctrl-]."""
        if self._keyboard is None or not self._is_open:
            return []
        return [self._keyboard.fd] if self._keyboard.is_terminal or len(self.keys) < _PIPED_AHEAD_BYTES else []

    def read(self, keyboard: Keyboard) -> None:
        """Take in what there is."""
        data = b""
        with suppress(OSError):  # the terminal is gone
            data = os.read(keyboard.fd, _READ_BYTES)
        if not self.keys:
            self.sent_s = time.monotonic()
        if not data:
            self._is_open = False
        elif keyboard.is_terminal:
            before, escape, _ = data.partition(ESCAPE)
            self.keys += before
            self.has_escaped = bool(escape)
        else:
            self.keys += data.replace(b"\n", b"\r")  # the key Enter, which is what ends a line there

    def send(self, line: int) -> None:
        """Send what the line takes.

        :raise TimedOut: that has been nothing for too long.
        """
        if not self.keys:
            return
        sent = 0
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):  # full; or over, which reading tells
            sent = os.write(line, self.keys)
        self.keys = self.keys[sent:]
        if sent:
            self.sent_s = time.monotonic()
        elif not self.has_escaped and self._is_piped and time.monotonic() - self.sent_s > TYPE_LIMIT_S:
            raise TimedOut(f"cannot type there: nothing was read within {TYPE_LIMIT_S:g} s", hint="it may hang")

    @property
    def _is_piped(self) -> bool:
        return self._keyboard is not None and not self._keyboard.is_terminal


def _read(line: int) -> bytes:
    """Return what has come over a line; nothing where it has ended."""
    try:
        return os.read(line, _READ_BYTES)
    except OSError:  # it was cut, or the other end of a pseudo-terminal was closed
        return b""
