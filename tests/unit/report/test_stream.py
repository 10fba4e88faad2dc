from __future__ import annotations

import io
import os
from pathlib import Path

from vmtasks.report.display.stream import SafeStream


def broken_pipe() -> io.TextIOWrapper:
    reader, writer = os.pipe()
    os.close(reader)
    return io.TextIOWrapper(os.fdopen(writer, "wb"), encoding="utf-8", line_buffering=True)


def test_a_reader_that_went_away_ends_nothing_not_even_at_exit() -> None:
    with broken_pipe() as stream:
        sink = SafeStream(stream)
        assert sink.write("lost\n") == 5
        sink.write("lost too\n")
        stream.flush()  # what Python does to the standard streams at its end, where a failure is exit status 120
        assert not sink.isatty()


def test_a_path_for_a_reader_that_went_away() -> None:
    with broken_pipe() as stream:
        SafeStream(stream).write_path(Path("x.deb"))
        stream.flush()


def test_a_closed_stream_and_none_at_all() -> None:
    stream = io.StringIO()
    sink = SafeStream(stream)
    stream.close()
    sink.write("lost")
    SafeStream(None).write("lost")
    SafeStream(None).write_path(Path("lost"))
    assert not SafeStream(None).isatty()


def test_a_character_that_the_encoding_lacks() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    SafeStream(stream).write("✔ done\n")
    assert raw.getvalue() == b"? done\n"


def test_a_path_is_written_as_its_own_bytes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    SafeStream(stream).write_path(Path(os.fsdecode(b"caf\xe9.deb")))
    assert raw.getvalue() == b"caf\xe9.deb\n"


def test_a_moment_in_which_a_terminal_cannot_take_more_is_no_end() -> None:
    class Busy(io.StringIO):
        is_busy = True

        def write(self, text: str, /) -> int:
            if self.is_busy:
                raise BlockingIOError
            return super().write(text)

    stream = Busy()
    sink = SafeStream(stream)
    sink.write("lost")
    stream.is_busy = False
    sink.write("shown")
    assert stream.getvalue() == "shown"
