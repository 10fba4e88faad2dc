"""The frames between a guest and its host, in pieces of any size."""

from __future__ import annotations

import pytest

from vmtasks.group.wire import LONGEST_BYTES, FrameReader, frame


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000, 10**9])
def test_frames_come_in_pieces(size: int) -> None:
    sent = frame(1, b"one") + frame(2, b"") + frame(3, b"three" * 100)
    reader = FrameReader()
    found = [one for start in range(0, len(sent), size) for one in reader.take(sent[start : start + size])]
    assert found == [(1, b"one"), (2, b""), (3, b"three" * 100)]


@pytest.mark.parametrize("size", [100_001, 10**9])
def test_a_frame_that_is_too_long_is_left_out_and_the_next_one_is_heard(size: int) -> None:
    sent = frame(1, b"one") + frame(2, bytes(LONGEST_BYTES + 1)) + frame(3, b"three") + frame(4, bytes(LONGEST_BYTES))
    reader = FrameReader()
    found = [one for start in range(0, len(sent), size) for one in reader.take(sent[start : start + size])]
    assert found == [(1, b"one"), (2, None), (3, b"three"), (4, bytes(LONGEST_BYTES))]


def test_what_is_no_frame_is_not_waited_for() -> None:
    with pytest.raises(ValueError, match="a frame of 762080353 bytes"):
        list(FrameReader().take(b"lava-lla"))
