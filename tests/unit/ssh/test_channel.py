"""What a command prints, kept within bounds: for the result, for listeners and on disk."""

from __future__ import annotations

import io
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks import events
from vmtasks.ssh import channel
from vmtasks.ssh.channel import Capture, Log


@pytest.fixture
def heard() -> Iterator[list[events.Output]]:
    outputs: list[events.Output] = []

    def listen(event: events.Event) -> None:
        assert isinstance(event, events.Output)
        outputs.append(event)

    with events.listening(listen):
        yield outputs


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "KEEP_BYTES", 10)
    monkeypatch.setattr(channel, "LOG_BYTES", 20)


def text_of(heard: list[events.Output]) -> str:
    return "".join(output.text for output in heard)


def captured(*pieces: bytes) -> Capture:
    capture = Capture("m", "stdout")
    for piece in pieces:
        capture.take(piece)
    capture.take(b"", final=True)
    return capture


def logged(tmp_path: Path, *pieces: bytes) -> bytes:
    path = tmp_path / "log"
    log = Log(path.open("wb"))
    for piece in pieces:
        log.write(piece)
    log.close()
    return path.read_bytes()


# ---- Capture


def test_output_is_kept_and_heard(heard: list[events.Output]) -> None:
    capture = Capture("m", "stderr")
    capture.take(b"one\n")
    assert [(output.machine, output.stream, output.text) for output in heard] == [("m", "stderr", "one\n")]
    assert capture.text() == "one\n"
    assert not capture.truncated


def test_a_character_may_come_in_pieces(heard: list[events.Output]) -> None:
    euro = "€".encode()
    capture = captured(b"a" + euro[:1], euro[1:2], euro[2:] + b"b")
    assert capture.text() == text_of(heard) == "a€b"
    assert [output.text for output in heard] == ["a", "€b"], "nobody hears of nothing, or of half a character"


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"a\xffb"], "a\ufffdb"),
        ([b"a\xe2\x82"], "a\ufffd"),
        ([b"\xe2", b"a"], "\ufffda"),
        ([b"\x80\x80"], "\ufffd\ufffd"),
        ([b"\xed\xa0\x80"], "\ufffd\ufffd\ufffd"),
        ([b"a\0b\r\n"], "a\0b\r\n"),
    ],
)
def test_what_is_not_utf_8_is_marked(heard: list[events.Output], pieces: list[bytes], expected: str) -> None:
    assert captured(*pieces).text() == text_of(heard) == expected


def test_exactly_as_much_as_is_kept_is_whole() -> None:
    capture = captured(b"0123456789")
    assert (capture.text(), capture.truncated) == ("0123456789", False)


@pytest.mark.parametrize("pieces", [[b"0123456789a"], [b"0", b"123456789a"], [bytes([b]) for b in b"0123456789a"]])
def test_of_more_the_end_is_kept_and_everything_heard(heard: list[events.Output], pieces: list[bytes]) -> None:
    capture = captured(*pieces)
    assert (capture.text(), capture.truncated) == ("123456789a", True)
    assert text_of(heard) == "0123456789a"


def test_what_is_kept_begins_with_a_whole_character() -> None:
    assert captured("€€€€€".encode()).text() == "€€€"


def test_binary_output_is_cut_as_well() -> None:
    capture = captured(b"\x80" * 100)
    assert capture.truncated
    assert len(capture.text()) <= 10


@pytest.mark.parametrize("piece", [b"x\n", b"x" * 65536])
def test_memory_is_bounded_however_the_output_comes(monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    keep_bytes = 16 * 1024
    monkeypatch.setattr(channel, "KEEP_BYTES", keep_bytes)

    def peak_bytes() -> int:
        capture = Capture("m", "stdout")
        log = Log(io.BytesIO())
        log._room_bytes = 0
        tracemalloc.start()
        try:
            for _ in range(max(4, 4 * keep_bytes // len(piece))):
                capture.take(piece)
                log.write(piece)
            return tracemalloc.get_traced_memory()[1] - sys.getsizeof(capture)
        finally:
            tracemalloc.stop()

    # Two ends, each with some slack while it grows, and a piece's copies. What other threads take meanwhile counts too.
    assert min(peak_bytes() for _ in range(3)) < 2 * 2 * keep_bytes + 4 * len(piece)


# ---- Log


def test_a_short_log_is_what_was_written(tmp_path: Path) -> None:
    assert logged(tmp_path, b"one\n", b"", b"\xff\0") == b"one\n\xff\0"


def test_the_end_follows_the_beginning_without_a_gap(tmp_path: Path) -> None:
    assert logged(tmp_path, b"a" * 15, b"b" * 15) == b"a" * 15 + b"b" * 15


def test_the_middle_is_left_out_and_counted(tmp_path: Path) -> None:
    pieces = [b"<head>", b"." * 1000, b"<tail>"]
    expected = b"<head>" + b"." * 14 + b"\n[... 982 bytes are left out here ...]\n" + b"....<tail>"
    assert logged(tmp_path, *pieces) == expected
    assert logged(tmp_path, b"".join(pieces)) == expected, "however it comes"
    assert logged(tmp_path, *[bytes([byte]) for byte in b"".join(pieces)]) == expected


def test_the_file_is_closed_and_what_came_early_is_there_meanwhile(tmp_path: Path) -> None:
    file = (tmp_path / "log").open("wb", buffering=0)
    log = Log(file)
    log.write(b"early")
    assert (tmp_path / "log").read_bytes() == b"early"
    log.close()
    assert file.closed
