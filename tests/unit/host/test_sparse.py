"""Copies of sparse files, as the supervisor makes them of a machine's memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.host.sparse import copy_extents

HOLE_BYTES = 64 * 1024 * 1024
PAGE = b"page" * 1024


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    path = tmp_path / "ram"
    with path.open("wb") as file:
        file.truncate(3 * HOLE_BYTES)
        for at in (0, HOLE_BYTES, 2 * HOLE_BYTES - len(PAGE)):
            file.seek(at)
            file.write(PAGE)
    return path


def test_what_is_there_is_copied_and_holes_stay_holes(sparse: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy_extents(str(sparse), str(copy))
    assert copy.read_bytes() == sparse.read_bytes()
    assert copy.stat().st_blocks * 512 < HOLE_BYTES
    assert copy.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_all_hole(tmp_path: Path) -> None:
    empty, copy = tmp_path / "empty", tmp_path / "copy"
    with empty.open("wb") as file:
        file.truncate(HOLE_BYTES)
    copy_extents(str(empty), str(copy))
    assert (copy.stat().st_size, copy.stat().st_blocks) == (HOLE_BYTES, 0)


def test_nothing_is_ever_written_over(sparse: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        copy_extents(str(sparse), str(sparse))
    with pytest.raises(FileNotFoundError):
        copy_extents(str(tmp_path / "none"), str(tmp_path / "copy"))
