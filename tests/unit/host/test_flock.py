"""Lock files that are removed: whoever had opened one meanwhile ends up with the lock of the one that is there."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from vmtasks.host import flock as module
from vmtasks.host.flock import discard, flock, try_lock

LIMIT_S = 20.0


def test_one_that_nobody_has_is_removed(tmp_path: Path) -> None:
    (tmp_path / "name.lock").touch()
    assert discard(tmp_path / "name.lock")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [fcntl.LOCK_SH, fcntl.LOCK_EX])
def test_one_that_somebody_has_stays(tmp_path: Path, how: int) -> None:
    fd = flock(tmp_path / "name.lock", how)
    try:
        assert not discard(tmp_path / "name.lock")
        assert (tmp_path / "name.lock").exists()
    finally:
        os.close(fd)


def test_who_waited_for_one_that_is_gone_takes_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The waiting one has opened the file when it is removed, and another process takes the lock of the next."""
    path = tmp_path / "name.lock"
    waits = threading.Event()
    got: list[int] = []
    real = fcntl.flock

    def told(fd: int, how: int) -> None:
        waits.set()
        real(fd, how)

    first = flock(path, fcntl.LOCK_EX)
    monkeypatch.setattr(module.fcntl, "flock", told)
    waiting = threading.Thread(target=lambda: got.append(flock(path, fcntl.LOCK_EX)), daemon=True)
    waiting.start()
    assert waits.wait(LIMIT_S)
    path.unlink()
    os.close(first)
    waiting.join(LIMIT_S)
    assert got
    try:
        with try_lock(path) as free:
            assert not free, "it is the lock of the file that has the name"
    finally:
        os.close(got[0])


def test_a_lock_in_a_directory_that_is_gone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "image"
    directory.mkdir()
    real = fcntl.flock

    def while_it_goes(fd: int, how: int) -> None:
        real(fd, how)
        (directory / "in-use").unlink()
        directory.rmdir()

    monkeypatch.setattr(module.fcntl, "flock", while_it_goes)
    with pytest.raises(FileNotFoundError):
        flock(directory / "in-use", fcntl.LOCK_SH)
