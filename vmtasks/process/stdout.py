"""Standard output that takes no more: its reader is gone, or its disk is full. A command ends there, in few words."""

from __future__ import annotations

import atexit
import io
import os
import sys
from contextlib import suppress
from types import TracebackType
from typing import TextIO

READER_IS_GONE = 141
"""What a shell has for a program that SIGPIPE has ended."""
CANNOT_WRITE = 69

_failed: list[OSError] = []
"""What writing has failed with."""


def end_with_reader() -> None:
    """Have this process end with 141 once nobody reads what it prints, and with a sentence where that has no room.

    To be called before anything else that is to run at exit is registered: this then runs last.
    """
    if sys.excepthook is not _hook:
        atexit.register(_at_exit)
        sys.excepthook = _hook
        for stream in (sys.stdout, sys.stderr):
            if stream:
                _watch(stream)


def _watch(stream: TextIO) -> None:
    """Remember with what writing fails: an exception itself does not tell which file it is of."""
    if isinstance(stream, io.TextIOWrapper):
        # Python flushes at a script's end and forgets what that fails with: what is in the buffer beneath is kept.
        stream.reconfigure(write_through=True)
    write = stream.write

    def watched(text: str) -> int:
        try:
            return write(text)
        except OSError as problem:
            _failed.append(problem)
            raise

    stream.write = watched  # type: ignore[method-assign]


def _at_exit() -> None:
    if status := _unwritten():
        os._exit(status)  # nothing is left to run but Python's own attempt to write, and its complaint


def _hook(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    if problem in _failed:
        raise SystemExit(_unwritten() or _status(problem))
    sys.__excepthook__(kind, problem, trace)


def _unwritten() -> int:
    """Write what is left to write; return the exit status that it comes to if that fails, else 0."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream and not stream.closed:
                stream.flush()
        except OSError as problem:
            _drop(stream.fileno())
            return _status(problem)
    return 0


def _status(problem: BaseException) -> int:
    """Return the exit status for what writing has failed with, and say it where somebody can still read it."""
    if isinstance(problem, BrokenPipeError):
        return READER_IS_GONE
    with suppress(OSError):
        os.write(2, f"cannot write to standard output: {getattr(problem, 'strerror', problem)}\n".encode())
    return CANNOT_WRITE


def _drop(fd: int) -> None:
    """Have what could not be written go nowhere, so that nobody tries again."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, fd)
    os.close(nowhere)
