"""Damage of files: what a glance finds, and what only reading all of a file does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vmtasks.cache.digest import damage_of, digests_of

MIB = 1024 * 1024
SMALL, LARGE, SPARSE = "small", "large", "sparse"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    (tmp_path / SMALL).write_bytes(os.urandom(1000))
    (tmp_path / LARGE).write_bytes(os.urandom(3 * MIB))
    with (tmp_path / SPARSE).open("wb") as file:
        file.write(b"head")
        file.seek(200 * MIB)
        file.write(os.urandom(2 * MIB))
        file.truncate(1024 * MIB)
    return tmp_path


def known(directory: Path) -> Any:
    return json.loads(json.dumps(digests_of(directory, (SMALL, LARGE, SPARSE))))


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_what_is_as_it_was_is_whole(kept: Path) -> None:
    digests = known(kept)
    assert damage_of(kept, digests) == damage_of(kept, digests, completely=True) == ""


def test_a_copy_without_holes_is_whole(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    digests = known(kept)
    copy = tmp_path_factory.mktemp("copy")
    for name in (SMALL, LARGE):
        (copy / name).write_bytes((kept / name).read_bytes())
    with (copy / SPARSE).open("wb") as file:
        file.write((kept / SPARSE).read_bytes()[: 210 * MIB])
        file.truncate(1024 * MIB)
    assert damage_of(copy, digests, completely=True) == ""


@pytest.mark.parametrize("name", [SMALL, LARGE, SPARSE])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (Path.unlink, "is missing"),
        (lambda path: os.truncate(path, 0), "has 0 bytes, and had "),
        (lambda path: os.truncate(path, path.stat().st_size - 1), " bytes, and had "),
        (lambda path: os.truncate(path, path.stat().st_size + 1), " bytes, and had "),
        (lambda path: overwrite(path, 0, b"nonsense"), "has other bytes than when it was made"),
        (lambda path: overwrite(path, path.stat().st_size - 4, b"tail"), "has other bytes than when it was made"),
        (lambda path: (size := path.stat().st_size, os.truncate(path, 0), os.truncate(path, size)),
         "has other bytes than when it was made"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read: Is a directory"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "cannot be read: it is not a regular file"),
        (lambda path: (path.unlink(), path.symlink_to(path.name)), "cannot be read: Too many levels"),
    ],
    ids=["missing", "empty", "shorter", "longer", "head", "tail", "zeros", "directory", "fifo", "loop"],
)  # fmt: skip
def test_damage_is_seen_at_a_glance(kept: Path, name: str, spoil: Callable[[Path], object], says: str) -> None:
    digests = known(kept)
    spoil(kept / name)
    found = damage_of(kept, digests)
    assert found.startswith(f"{name} ")
    assert says in found


def test_zeros_anywhere_that_a_lost_write_leaves_are_seen_at_a_glance(kept: Path) -> None:
    """An eighth of the file is far more than there is between two of the blocks that are looked at."""
    digests = known(kept)
    for eighth in range(8):
        data = (kept / LARGE).read_bytes()
        overwrite(kept / LARGE, eighth * 3 * MIB // 8, bytes(3 * MIB // 8))
        assert damage_of(kept, digests) == f"{LARGE} has other bytes than when it was made", eighth
        (kept / LARGE).write_bytes(data)


def test_one_wrong_bit_in_the_middle_is_seen_by_reading_all(kept: Path) -> None:
    digests = known(kept)
    at = next(at for at in range(MIB, 2 * MIB) if all(not s <= at < s + 4096 for s in digests[LARGE]["samples"]))
    byte = (kept / LARGE).read_bytes()[at]
    overwrite(kept / LARGE, at, bytes([byte ^ 1]))
    assert damage_of(kept, digests) == ""
    assert damage_of(kept, digests, completely=True) == f"{LARGE} has other bytes than when it was made"


@pytest.mark.parametrize(
    "digest",
    [None, [], 5, "text", {}, {"bytes": 1000}, {"bytes": 3 * MIB, "samples": 5, "crc32": 0},
     {"bytes": 3 * MIB, "samples": ["x"], "crc32": 0}, {"bytes": 3 * MIB, "samples": [10**30], "crc32": 0},
     {"bytes": 3 * MIB, "samples": [-1], "crc32": 0}],
)  # fmt: skip
def test_a_record_that_makes_no_sense_is_damage(kept: Path, digest: Any) -> None:
    assert damage_of(kept, {LARGE: digest}).startswith((f"what is written down of {LARGE} makes no sense", LARGE))
