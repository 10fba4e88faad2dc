"""A terminal, or a pipe, joined to a line: what is typed arrives as it is, and the terminal is as before in the end."""

from __future__ import annotations

import os
import pty
import select
import socket
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from vmtasks.deadline import Deadline
from vmtasks.errors import TimedOut
from vmtasks.process import terminal
from vmtasks.process.terminal import Ended, Keyboard, join, keyboard_of, raw

LIMIT_S = 20.0


class Joined:
    """A line, a keyboard, and a thread that joins them."""

    def __init__(self, keyboard: Keyboard | None, is_alive: Callable[[], bool] = lambda: True) -> None:
        self.line, self.guest = socket.socketpair()
        self.line.setblocking(False)
        self.guest.settimeout(LIMIT_S)
        self.shown = b""
        self._shows = threading.Condition()
        self._ended: Ended | Exception | None = None
        self._thread = threading.Thread(target=self._join, args=(keyboard, is_alive), daemon=True)
        self._thread.start()

    def _join(self, keyboard: Keyboard | None, is_alive: Callable[[], bool]) -> None:
        try:
            self._ended = join(self.line.fileno(), keyboard, self._show, is_alive=is_alive)
        except TimedOut as problem:
            self._ended = problem

    def _show(self, data: bytes) -> None:
        with self._shows:
            self.shown += data
            self._shows.notify_all()

    def shows(self, wanted: bytes) -> None:
        with self._shows:
            assert self._shows.wait_for(lambda: wanted in self.shown, LIMIT_S), self.shown

    def hears(self, length: int) -> bytes:
        """Return what the guest reads, so many bytes."""
        data = b""
        while len(data) < length and (piece := self.guest.recv(length - len(data))):
            data += piece
        return data

    def ends(self) -> Ended | Exception | None:
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), "it goes on"
        return self._ended

    def close(self) -> None:
        self.guest.close()
        self._thread.join(LIMIT_S)
        self.line.close()


@pytest.fixture
def screen() -> Iterator[tuple[int, int]]:
    """Yield both ends of a terminal: the person's, and the program's."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    for fd in (ours, theirs):
        os.close(fd)


# --- a terminal ------------------------------------------------------------------------------------------------


def test_a_terminal_passes_each_key_on_and_is_restored_whatever_happens(screen: tuple[int, int]) -> None:
    person, fd = screen
    before = termios.tcgetattr(fd)
    with raw(keyboard_of(fd)):
        assert termios.tcgetattr(fd) != before
        with closing(Joined(keyboard_of(fd))) as joined:
            os.write(person, b"ls\r\x03\x04\x1a")
            assert joined.hears(6) == b"ls\r\x03\x04\x1a"
            assert not select.select([person], [], [], 0)[0], "nothing is echoed here: the guest does that"
            os.write(person, b"tail\x1dnot this")
            assert joined.ends() is Ended.BY_ESCAPE
            assert joined.hears(4) == b"tail"
    assert termios.tcgetattr(fd) == before
    with suppress(KeyboardInterrupt), raw(keyboard_of(fd)):
        raise KeyboardInterrupt
    assert termios.tcgetattr(fd) == before


def test_a_terminal_to_which_text_is_piped_makes_its_lines_as_usual(screen: tuple[int, int]) -> None:
    person, fd = screen
    with raw(keyboard_of(fd), also_output=False):
        os.write(fd, b"one\ntwo\n")
        assert os.read(person, 100) == b"one\r\ntwo\r\n"
    with raw(keyboard_of(fd)):
        os.write(fd, b"one\ntwo\n")
        assert os.read(person, 100) == b"one\ntwo\n"


def test_ctrl_is_heard_also_where_the_guest_takes_nothing(screen: tuple[int, int]) -> None:
    person, fd = screen
    with raw(keyboard_of(fd)), closing(Joined(keyboard_of(fd))) as joined:
        for _ in range(1000):  # more than the line takes
            os.write(person, b"x" * 1000)
        os.write(person, b"\x1d")
        assert joined.ends() is Ended.BY_ESCAPE


def test_a_terminal_that_goes_away_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "QUIET_S", 0.01)
    person, fd = pty.openpty()
    try:
        with raw(keyboard_of(fd)), closing(Joined(keyboard_of(fd))) as joined:
            os.close(person)
            assert joined.ends() is Ended.BY_INPUT
    finally:
        os.close(fd)


# --- the line --------------------------------------------------------------------------------------------------


def test_a_line_that_ends_is_shown_to_its_end() -> None:
    with closing(Joined(None)) as joined:
        joined.guest.sendall(b"Power down\r\n" * 1000)
        joined.guest.close()
        assert joined.ends() is Ended.BY_LINE
        assert joined.shown == b"Power down\r\n" * 1000


def test_a_line_that_does_not_tell_its_end_is_asked_for_it() -> None:
    lives = threading.Event()
    lives.set()
    with closing(Joined(None, lives.is_set)) as joined:
        joined.guest.sendall(b"last words")
        lives.clear()
        assert joined.ends() is Ended.BY_LINE
        assert joined.shown == b"last words"


# --- a pipe ----------------------------------------------------------------------------------------------------


@pytest.fixture
def piped() -> Iterator[tuple[Keyboard, int]]:
    """Yield a keyboard that is a pipe, and the end to write into."""
    reader, writer = os.pipe()
    yield keyboard_of(reader), writer
    os.close(reader)


def test_lines_of_a_pipe_end_with_enter_and_what_they_bring_is_shown(
    piped: tuple[Keyboard, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "QUIET_S", 0.3)
    keyboard, writer = piped
    with closing(Joined(keyboard)) as joined, raw(keyboard):
        os.write(writer, b"root\nuname\x1d\n")
        os.close(writer)
        assert joined.hears(12) == b"root\runame\x1d\r", "Ctrl-] is for persons"
        joined.guest.sendall(b"Linux\r\n")
        assert joined.ends() is Ended.BY_INPUT
        assert joined.shown == b"Linux\r\n"


def test_a_guest_that_is_never_silent_keeps_nobody_for_ever(
    piped: tuple[Keyboard, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "DRAIN_LIMIT_S", 0.3)
    keyboard, writer = piped
    os.close(writer)
    with closing(Joined(keyboard)) as joined:
        deadline = Deadline.after(LIMIT_S)
        while joined._thread.is_alive() and not deadline.passed:
            if select.select([], [joined.guest], [], 0.05)[1]:
                joined.guest.send(b"all work and no play\r\n")
        assert joined.ends() is Ended.BY_INPUT


def test_a_guest_that_takes_nothing_of_what_is_piped_is_told(
    piped: tuple[Keyboard, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "TYPE_LIMIT_S", 0.3)
    keyboard, writer = piped
    with closing(Joined(keyboard)) as joined:
        os.set_blocking(writer, False)
        deadline = Deadline.after(LIMIT_S)
        while joined._thread.is_alive() and not deadline.passed:
            if select.select([], [writer], [], 0.05)[1]:
                os.write(writer, b"x" * 4096)
        os.close(writer)
        problem = joined.ends()
        assert isinstance(problem, TimedOut)
        assert str(problem) == "cannot type there: nothing was read within 0.3 s"
