"""Snapshots on disk: found by their key, refused when damaged, and the one that served longest ago goes first."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmtasks import events
from vmtasks.cache import snapshot, snapshots
from vmtasks.cache.snapshot import FILES, Snapshot
from vmtasks.cache.snapshots import all_snapshots, create, find, has_room, prune, quota_bytes, read, sweep
from vmtasks.config.settings import HostSettings
from vmtasks.host.flock import try_lock
from vmtasks.process.cleanup import KEEP_MARKER

FILE_BYTES = 64 * 1024


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the lock file of an image to stand on."""
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "in-use"
    path.touch()
    return path


@pytest.fixture
def save(base: Path) -> Iterator[Callable[..., Snapshot]]:
    serial = iter(range(100))

    def made(key: str, *, lock_files: tuple[Path, ...] = (), **more: object) -> Snapshot:
        with create(key, "template", f"name of {key}", lock_files=(base, *lock_files), **more) as (into, final):
            for name in ("ram", "state", "disk.qcow2", "overlay"):
                (into / name).write_bytes(b"x" * FILE_BYTES)
        os.utime(final / "in-use", (next(serial),) * 2)
        return read(final)

    yield made
    while snapshot.private_snapshots:
        os.close(snapshot.private_snapshots.popitem()[1])


def left_by_its_maker(one: Snapshot) -> None:
    """Do what the kernel does when the maker ends."""
    os.close(snapshot.private_snapshots.pop(one.directory))


def test_what_was_saved_is_found_by_its_key(save: Callable[..., Snapshot], base: Path) -> None:
    made = save("k1", more="more")
    found = find("k1")
    assert found == made
    assert (made.kind, made.name, made.metadata["more"]) == ("template", "name of k1", "more")
    assert made.lock_files == (made.in_use, base)
    assert find("k") is None


def test_what_went_wrong_half_way_does_not_count(base: Path) -> None:
    # Nothing was saved into it.
    with pytest.raises(FileNotFoundError), create("k1", "template", "name", lock_files=(base,)) as (into, _):
        (into / "ram").touch()
    assert find("k1") is None
    assert not list(snapshots.snapshots_dir().glob("*k1*"))


@pytest.mark.parametrize("name", ["ram", "state", "disk.qcow2", "overlay"])
def test_a_damaged_one_is_dropped_with_a_word(save: Callable[..., Snapshot], name: str) -> None:
    notes: list[events.Event] = []
    path = save("k1").directory / name
    path.write_bytes(b"short")
    with events.listening(notes.append):
        assert find("k1") is None
    assert [note.text for note in notes if isinstance(note, events.Note)] == [
        "the template of name of k1 is damaged: a file has been written to since; dropped"
    ]
    assert not path.exists()


def zeros(path: Path) -> None:
    path.write_bytes(bytes(FILE_BYTES))


def header(path: Path) -> None:
    path.write_bytes(b"?" * 200 + path.read_bytes()[200:])


def end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200] + b"?" * 200)


@pytest.mark.parametrize("spoil", [zeros, header, end])
@pytest.mark.parametrize("name", ["ram", "state", "disk.qcow2", "overlay"])
def test_one_with_other_bytes_of_the_same_size_and_time_is_dropped(
    save: Callable[..., Snapshot], name: str, spoil: Callable[[Path], None]
) -> None:
    notes: list[events.Event] = []
    path = save("k1").directory / name
    was = path.stat()
    spoil(path)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    with events.listening(notes.append):
        assert find("k1") is None
    assert [note.text for note in notes if isinstance(note, events.Note)] == [
        f"the template of name of k1 is damaged: {name} has other bytes than when it was made; dropped"
    ]
    assert not path.exists()


@pytest.mark.parametrize(
    "changes",
    [{"made_s": "x"}, {"made_s": 1e300}, {"made_s": None}, {"stands_on": 5}, {"stands_on": [5]},
     {"stands_on": ["\0"]}, {"files": 5}, {"files": {}}, {"files": {"ram": "x"}}, {"digests": {"ram": 5}},
     {"digests": {"ram": {}}}, {"digests": 5}, {"kind": 5}, {"name": None}],
)  # fmt: skip
def test_one_whose_record_makes_no_sense_is_none(save: Callable[..., Snapshot], changes: dict[str, object]) -> None:
    made = save("0123456789abcdef")
    (made.directory / "snapshot.json").write_text(json.dumps({**made.metadata, **changes}))
    assert find("0123456789abcdef") is None
    prune(10**9)
    assert not made.directory.exists()


def test_one_of_an_earlier_version_counts(save: Callable[..., Snapshot]) -> None:
    made = save("k1")
    (made.directory / "snapshot.json").write_text(
        json.dumps({name: value for name, value in made.metadata.items() if name != "digests"})
    )
    assert find("k1")
    assert snapshots.condemn(read(made.directory)) == ""


def test_one_wrong_bit_is_found_when_all_is_read(save: Callable[..., Snapshot]) -> None:
    large = 3 * 1024 * 1024
    with create("k1", "template", "large", lock_files=()) as (into, final):
        for name in FILES:
            (into / name).write_bytes(b"x" * large)
    path, at = final / "ram", 1024 * 1024 + 30_000  # between two of the blocks that a glance looks at
    was = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"y")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    found = find("k1")
    assert found
    assert snapshots.condemn(found) == "ram has other bytes than when it was made"
    assert not final.exists()


def test_what_is_its_makers_alone_is_not_read_once_more(save: Callable[..., Snapshot]) -> None:
    assert "digests" not in save("k1", keep=False).metadata
    assert set(save("k2").metadata["digests"]) == set(FILES)


def test_one_whose_image_is_gone_is_none(save: Callable[..., Snapshot], base: Path) -> None:
    save("k1")
    base.unlink()
    assert find("k1") is None


def test_the_one_that_served_longest_ago_goes_first(save: Callable[..., Snapshot]) -> None:
    old, middle, young = save("old"), save("middle"), save("young")
    old.touch()
    quota_bytes = 2 * middle.size_bytes
    assert [one for one, _ in prune(quota_bytes)] == [middle]
    assert all_snapshots() == (young, old)


def test_what_is_in_use_or_stood_on_stays(save: Callable[..., Snapshot]) -> None:
    below = save("below")
    above = save("above", lock_files=(below.in_use,))
    used = save("used")
    with used.in_use.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        gone = prune(0)
    assert [one for one, _ in gone] == [above, below]
    assert all(size_bytes >= 3 * FILE_BYTES for _, size_bytes in gone)
    assert all_snapshots() == (used,)


def test_what_has_just_been_made_is_not_pruned_by_that(
    save: Callable[..., Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = save("old")
    monkeypatch.setenv("VMTASKS_SNAPSHOTS_MIB", "0")
    made = save("made")
    assert all_snapshots() == (made,)
    assert not old.directory.exists()
    assert [one for one, _ in prune(0)] == [made], "it is as good as any other from then on"


@pytest.mark.parametrize(
    ("settings", "is_worth_it"),
    [(HostSettings(), True), (HostSettings(snapshots_mib=0), False), (HostSettings(snapshots_share=0), False)],
)
def test_room_is_known_before_there_is_a_cache(base: Path, settings: HostSettings, is_worth_it: bool) -> None:
    assert base.parent.is_dir()
    assert not snapshots.cache_dir().exists()
    assert bool(quota_bytes(settings)) == has_room(settings) == is_worth_it


def test_what_somebody_else_has_just_removed_is_gone(save: Callable[..., Snapshot]) -> None:
    one = save("one")
    assert one.drop()
    assert one.drop()
    assert one.size_bytes == 0
    assert not one.directory.exists()


def test_what_a_machine_stands_on_is_not_dropped(save: Callable[..., Snapshot]) -> None:
    one = save("one")
    with one.in_use.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert not one.drop()
        assert one.intact
    assert one.drop()


def test_what_a_killed_maker_left_is_swept(save: Callable[..., Snapshot], base: Path) -> None:
    whole = save("whole")
    left = snapshots.snapshots_dir() / f".k1_{os.getpid()}_1.part"  # the number of a process that lives says nothing
    left.mkdir()
    (left / "ram").touch()
    with create("k2", "template", "name", lock_files=(base,)) as (into, _):
        assert sweep() == (left,)
        assert into.exists()
        for name in ("ram", "state", "disk.qcow2", "overlay"):
            (into / name).touch()
    assert sweep() == ()
    assert find("k2")
    assert find("whole") == whole


def test_one_that_says_nothing_of_itself_is_swept(save: Callable[..., Snapshot]) -> None:
    one = save("0123456789abcdef")
    somebodys = snapshots.snapshots_dir() / "pictures-2024"
    somebodys.mkdir()
    (one.directory / "snapshot.json").write_text("{")
    assert sweep() == (one.directory,)
    assert somebodys.exists()


def test_what_only_its_maker_can_find_goes_with_it(save: Callable[..., Snapshot]) -> None:
    found_again = save("k1")
    below = save("k2", keep=False)
    above = save("k3", keep=False, lock_files=(below.in_use,))
    assert sweep() == ()
    assert [one for one, _ in prune(0)] == [found_again]
    assert (below.intact, above.intact) == (True, True), "while it lives, they are nobody else's to remove"
    left_by_its_maker(below)
    assert sweep() == ()
    left_by_its_maker(above)
    with above.in_use.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert sweep() == (), "a machine stands on it"
    assert sweep() == (above.directory, below.directory)


def test_the_maker_drops_what_is_its_own(save: Callable[..., Snapshot]) -> None:
    one = save("k1", keep=False)
    assert one.drop()
    assert not one.directory.exists()


@pytest.mark.parametrize("is_dropped_first", [False, True])
def test_what_a_kept_one_stands_on_is_not_dropped_by_its_maker(
    save: Callable[..., Snapshot], *, is_dropped_first: bool
) -> None:
    below = save("k1", keep=False)
    with below.in_use.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # the machine that is saved has started from there
        assert not (is_dropped_first and below.drop())
        above = save("k2", lock_files=(below.in_use,))
    assert not below.drop()
    assert above.intact
    assert (below.directory / KEEP_MARKER).exists(), "the end of this process does not remove it, either"
    assert sweep() == ()
    assert above.drop()
    assert sweep() == (below.directory,)


def test_what_older_versions_kept_is_removed_but_for_what_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path))
    old = tmp_path / "frozen"
    for name in ("a-1", "b-1"):
        (old / name).mkdir(parents=True)
        (old / name / "in-use").touch()
    with try_lock(old / "b-1" / "in-use"):
        snapshots.remove_old_layout()
        assert [path.name for path in old.iterdir()] == ["b-1"]
    snapshots.remove_old_layout()
    assert not old.exists()
