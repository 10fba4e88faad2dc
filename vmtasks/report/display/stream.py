"""A stream that may go away while it is written to."""

from __future__ import annotations

import io
import os
from typing import TextIO


class SafeStream(io.TextIOBase):
    """A text stream on which writing never fails: whether the run ends with its reader is decided elsewhere.

    A character that the stream's encoding lacks becomes a question mark. After the first error of the
    stream, everything is thrown away.

    :param stream: where the text goes; None, as Python has it for a stream that was closed from the start.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or io.StringIO()
        self._gone = stream is None

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base class has an attribute here, and it is None
        """The encoding of the stream below; rich asks, to know which characters it can draw with."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether the stream below is a terminal."""
        return not self._gone and self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the stream below."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Say yes, whatever became of the stream below."""
        return True

    def write(self, text: str, /) -> int:
        """Write *text* through to the stream below, at once."""
        if not self._gone:
            try:
                self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
                self._stream.flush()
            except BlockingIOError:
                pass  # another program made the shared terminal non-blocking: this text is lost, the next may pass
            except (OSError, ValueError):  # ValueError: the stream was closed by its owner
                self._give_up()
        return len(text)

    def write_path(self, path: os.PathLike[str]) -> None:
        """Write a line with the path's own bytes, which need not be text in any encoding."""
        buffer = getattr(self._stream, "buffer", None)
        if buffer is None or self._gone:
            self.write(f"{os.fspath(path)}\n")
            return
        try:
            self._stream.flush()
            buffer.write(os.fsencode(path) + b"\n")
            buffer.flush()
        except (OSError, ValueError):
            self._give_up()

    def _give_up(self) -> None:
        """Let what the stream still holds go to nowhere.

        Python flushes the standard streams once more at its end, and turns a failure of that into an exit
        status of its own, in place of the run's.
        """
        self._gone = True
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError):
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
