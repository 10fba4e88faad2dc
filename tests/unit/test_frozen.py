"""Frozen machines on disk: found by their key, refused when damaged, and the one that served longest ago goes first."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vmtasks import events, frozen
from vmtasks.frozen import Frozen, all_frozen, find, making, prune, read

FILE_BYTES = 64 * 1024


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the lock file of an image to stand on."""
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "in-use"
    path.touch()
    return path


@pytest.fixture
def freeze(base: Path) -> Callable[..., Frozen]:
    serial = iter(range(100))

    def made(key: str, *, stands_on: tuple[Path, ...] = ()) -> Frozen:
        with making(key, "template", f"name of {key}", stands_on=(base, *stands_on), more="more") as (into, final):
            for name in ("ram", "state", "disk.qcow2"):
                (into / name).write_bytes(b"x" * FILE_BYTES)
        os.utime(final / "in-use", (next(serial),) * 2)
        return read(final)

    return made


def test_what_was_frozen_is_found_by_its_key(freeze: Callable[..., Frozen], base: Path) -> None:
    made = freeze("k1")
    found = find("k1")
    assert found == made
    assert (made.kind, made.name, made.said["more"]) == ("template", "name of k1", "more")
    assert made.holds == (made.in_use, base)
    assert find("k") is None


def test_what_went_wrong_half_way_does_not_count(base: Path) -> None:
    # Nothing was frozen into it.
    with pytest.raises(FileNotFoundError), making("k1", "template", "name", stands_on=(base,)) as (into, _):
        (into / "ram").touch()
    assert find("k1") is None
    assert not list(frozen.frozen_dir().iterdir())


@pytest.mark.parametrize("name", ["ram", "state", "disk.qcow2"])
def test_a_damaged_one_is_dropped_with_a_word(freeze: Callable[..., Frozen], name: str) -> None:
    notes: list[events.Event] = []
    path = freeze("k1").directory / name
    path.write_bytes(b"short")
    with events.listening(notes.append):
        assert find("k1") is None
    assert [note.text for note in notes if isinstance(note, events.Note)] == [
        "the template of name of k1 is damaged: dropped"
    ]
    assert not path.exists()


def test_one_whose_image_is_gone_is_none(freeze: Callable[..., Frozen], base: Path) -> None:
    freeze("k1")
    base.unlink()
    assert find("k1") is None


def test_the_one_that_served_longest_ago_goes_first(freeze: Callable[..., Frozen]) -> None:
    old, middle, young = freeze("old"), freeze("middle"), freeze("young")
    old.touch()
    room_bytes = 2 * middle.size_bytes
    assert [one for one, _ in prune(room_bytes)] == [middle]
    assert all_frozen() == (young, old)


def test_what_is_in_use_or_stood_on_stays(freeze: Callable[..., Frozen]) -> None:
    below = freeze("below")
    above = freeze("above", stands_on=(below.in_use,))
    used = freeze("used")
    with used.in_use.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        gone = prune(0)
    assert [one for one, _ in gone] == [above, below]
    assert all(size_bytes >= 3 * FILE_BYTES for _, size_bytes in gone)
    assert all_frozen() == (used,)
