"""What is given its name has its content on the disk first, and the directory goes there after it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks.files import durable


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record what is asked of the disk, in order; names are relative to the directory of the test."""
    made: list[str] = []
    fsync, replace = os.fsync, os.replace

    def relative(path: str | os.PathLike[str]) -> str:
        return os.path.relpath(path, tmp_path)

    def recorded_fsync(fd: int) -> None:
        made.append(f"fsync {relative(Path(f'/proc/self/fd/{fd}').readlink())}")
        fsync(fd)

    def recorded_replace(source: Path, target: Path) -> None:
        made.append(f"rename {relative(source)} {relative(target)}")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", recorded_fsync)
        patch.setattr(os, "replace", recorded_replace)
        yield made


def test_a_file_goes_to_the_disk_before_its_name_and_the_directory_after_it(tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / ".new").write_text("new")
    (tmp_path / "file").write_text("old")
    durable.rename(tmp_path / ".new", tmp_path / "file")
    assert calls == ["fsync .new", "rename .new file", "fsync ."]
    assert (tmp_path / "file").read_text() == "new"


def test_all_of_a_directory_goes_to_the_disk_before_its_name(tmp_path: Path, calls: list[str]) -> None:
    part = tmp_path / ".image.part"
    (part / "below").mkdir(parents=True)
    for name in ("disk", "kernel", "below/more"):
        (part / name).write_text(name)
    (part / "link").symlink_to("/nowhere")
    os.mkfifo(part / "fifo")
    (tmp_path / "images").mkdir()
    durable.rename(part, tmp_path / "images" / "image")
    *before, rename, after = calls
    assert sorted(before) == sorted(
        f"fsync .image.part{name}" for name in ("", "/below", "/below/more", "/disk", "/kernel")
    )
    assert before[-1] == "fsync .image.part", "a directory after what is in it"
    assert (rename, after) == ("rename .image.part images/image", "fsync images")


def test_what_is_of_no_use_after_a_power_cut_waits_for_no_disk(tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / ".new").write_text("new")
    durable.rename(tmp_path / ".new", tmp_path / "file", lasting=False)
    assert calls == ["rename .new file"]


def test_a_name_without_a_directory_is_one_of_this_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".new").touch()
    durable.rename(Path(".new"), Path("file"))
    assert calls == ["fsync .new", "rename .new file", "fsync ."]


def test_what_the_disk_refuses_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".new").write_text("new")
    (tmp_path / "file").write_text("old")

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output error"):
            durable.rename(tmp_path / ".new", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old"


def test_a_file_system_that_cannot_sync_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    (tmp_path / ".new").write_text("new")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", unable)
        durable.rename(tmp_path / ".new", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "new"


def test_a_file_that_may_not_be_read_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a guest's").write_text("x")

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root reads everything
    durable.sync(tmp_path / "a guest's")
