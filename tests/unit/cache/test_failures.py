"""Machines that were frozen as they failed: found by name, kept for a while, within their room."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vmtasks.cache import snapshots
from vmtasks.cache.failures import beyond
from vmtasks.cache.snapshot import FILES, Snapshot
from vmtasks.config.settings import HostSettings
from vmtasks.errors import HostError

FILE_BYTES = 512 * 1024
DAY_S = 86400.0

Save = Callable[..., Snapshot]


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Save:
    """Return what makes a snapshot, as old as it is told."""
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))

    def made(number: int, *, kind: str = "failure", days: float = 0.0) -> Snapshot:
        key = f"{number:016x}"
        with snapshots.create(key, kind, f"m{number}", lock_files=()) as (into, final):  # type: ignore[arg-type]
            for name in FILES:
                (into / name).write_bytes(b"x" * FILE_BYTES)
        record = final / "snapshot.json"
        document = json.loads(record.read_text())
        record.write_text(json.dumps({**document, "made_s": document["made_s"] - days * DAY_S}))
        return snapshots.read(final)

    return made


def test_one_is_found_by_its_directorys_name(save: Save) -> None:
    one = save(1)
    assert snapshots.failure(one.directory.name) == one
    assert one.kind == "failure"


@pytest.mark.parametrize("name", ["0123456789abcdef-1", "", "..", "../x", "/etc", "0123456789abcdef-1/.."])
def test_one_that_is_gone_is_a_sentence_and_so_is_a_name_that_none_has(save: Save, name: str) -> None:
    with pytest.raises(HostError, match="the frozen machine is gone") as caught:
        snapshots.failure(name)
    assert "2 days (reopen_days)" in caught.value.hint


def test_what_was_saved_for_another_purpose_is_none(save: Save) -> None:
    with pytest.raises(HostError, match="is gone"):
        snapshots.failure(save(1, kind="checkpoint").directory.name)


def test_a_damaged_one_is_told_of_and_goes(save: Save) -> None:
    one = save(1)
    one.ram.write_bytes(b"short")
    with pytest.raises(HostError, match="damaged, and has been removed: a file has been written to since"):
        snapshots.failure(one.directory.name)
    assert not one.directory.exists()


def test_old_ones_go_and_others_than_failures_never_do(save: Save) -> None:
    young, template, old = save(1, days=1), save(2, kind="template", days=9), save(3, days=3)
    assert beyond([old, young, template], HostSettings()) == [old]
    assert beyond([old, young, template], HostSettings(reopen_days=0)) == []
    assert snapshots.sweep() == (old.directory,)
    assert {one.directory for one in snapshots.all_snapshots()} == {young.directory, template.directory}


def test_the_younger_ones_have_the_room_and_the_youngest_has_it_always(save: Save) -> None:
    old, middle, young = save(1, days=0.3), save(2, days=0.2), save(3, days=0.1)
    size_mib = middle.size_bytes // 1024**2
    assert size_mib
    assert beyond([middle, old, young], HostSettings(reopen_mib=2 * (size_mib + 1))) == [old]
    assert beyond([middle, old, young], HostSettings(reopen_mib=0)) == [middle, old]


def test_one_of_which_a_copy_runs_stays(save: Save) -> None:
    old = save(1, days=3)
    with old.in_use.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert snapshots.sweep() == ()
    assert snapshots.sweep() == (old.directory,)


def test_there_is_no_use_in_freezing_without_room(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots.expect_room_for_failures()
    for name in ("VMTASKS_REOPEN_MIB", "VMTASKS_SNAPSHOTS_MIB"):
        with monkeypatch.context() as other:
            other.setenv(name, "0")
            with pytest.raises(HostError, match="there is no room for it"):
                snapshots.expect_room_for_failures()
