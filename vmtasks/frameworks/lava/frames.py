"""The stream that the runner in the guest sends, taken apart again: what tests print, and signals, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vmtasks.errors import TestFailed
from vmtasks.ssh.channel import Show

_LONGEST_HEAD = 24
_LONGEST_SIGNAL_BYTES = 16 * 1024 * 1024


class Frames:
    """Takes the stream in pieces of any size; see the head of ``guest/runner``.

    :param hear_output: called with what tests have printed, before it is shown.
    :param hear_signal: called with the words of a signal.
    """

    def __init__(self, hear_output: Callable[[bytes], None], hear_signal: Callable[[Sequence[str]], None]) -> None:
        self._hear_output = hear_output
        self._hear_signal = hear_signal
        self._kind = b""
        self._left_bytes = 0
        self._held = bytearray()
        """A head or a signal of which more is to come."""

    def take(self, data: bytes, show: Show) -> None:
        """Take in a piece, and have shown what is output.

        :raise TestFailed: it is no such stream: the guest is not what it was.
        """
        while data or (self._kind and not self._left_bytes):
            if not self._kind:
                data = self._head(data)
                continue
            piece, data = data[: self._left_bytes], data[self._left_bytes :]
            self._left_bytes -= len(piece)
            if self._kind == b"O":
                self._hear_output(piece)
                show(piece)
            else:
                self._held += piece
            if not self._left_bytes:
                kind, self._kind = self._kind, b""
                if kind == b"S":
                    words, self._held = bytes(self._held), bytearray()
                    self._hear_signal(words.decode(errors="replace").split("\0"))

    def _head(self, data: bytes) -> bytes:
        """Take the head of a frame off, if all of it is there; return the rest."""
        line, newline, rest = (bytes(self._held) + data).partition(b"\n")
        kind, _, length = line.partition(b" ")
        is_right = len(line) <= _LONGEST_HEAD and (not newline or (kind in {b"O", b"S"} and length.isdigit()))
        if not is_right or (newline and kind == b"S" and int(length) > _LONGEST_SIGNAL_BYTES):
            raise TestFailed(f"cannot follow the tests: {line[:60].decode(errors='replace')!r} came instead of a frame")
        if not newline:
            self._held = bytearray(line)
            return b""
        self._held = bytearray()
        self._kind, self._left_bytes = kind, int(length)
        return rest
