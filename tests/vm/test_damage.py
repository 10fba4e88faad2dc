"""Damaged templates of real machines: whatever is wrong with one, the machine comes up, and says why it was no clone.

What a look at the files finds is tested without machines (tests/unit). Here are templates of which nothing was written
down that it could be compared with, as an earlier version left them, so that only QEMU and the guest find out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmtasks import boot, events
from vmtasks.cache.snapshots import all_snapshots

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def pristine(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Return where the template of an image belongs, and a copy of it that stays whole."""
    with boot("bookworm", purpose="a template to be damaged"):
        (template,) = (one.directory for one in all_snapshots() if one.kind == "template")
    copy = tmp_path_factory.mktemp("pristine") / "template"
    copied(template, copy)
    yield template, copy
    shutil.rmtree(copy)


def copied(source: Path, target: Path) -> None:
    """Copy a template with its holes and its times."""
    subprocess.run(["cp", "--archive", "--sparse=always", source, target], check=True)


@pytest.fixture
def template(pristine: tuple[Path, Path]) -> Path:
    """Return the only template there is, which is whole."""
    place, copy = pristine
    for one in all_snapshots():
        shutil.rmtree(one.directory)
    copied(copy, place)
    return place


@contextmanager
def heard() -> Iterator[tuple[list[events.MachineStarted], list[str]]]:
    """Yield the starts of machines, but for those that templates are made of, and the notes."""
    starts: list[events.MachineStarted] = []
    notes: list[str] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.MachineStarted) and not event.machine.endswith("-template"):
            starts.append(event)
        if isinstance(event, events.Note):
            notes.append(event.text)

    with events.listening(hear):
        yield starts, notes


def spoil(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change what is in a file, but neither its size nor its time."""
    was = path.stat()
    changed = change(path.read_bytes())
    with path.open("r+b") as file:
        file.write(changed)
    assert path.stat().st_size == was.st_size
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def zeros(data: bytes) -> bytes:
    return bytes(len(data))


def header(data: bytes) -> bytes:
    return b"?" * 200 + data[200:]


def forget_digests(template: Path) -> None:
    metadata = json.loads((template / "snapshot.json").read_text())
    del metadata["digests"]
    (template / "snapshot.json").write_text(json.dumps(metadata))


@pytest.mark.parametrize(
    ("name", "change"),
    [("overlay", header), ("overlay", zeros), ("disk.qcow2", header), ("state", zeros), ("state", header)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_template_that_does_not_serve_costs_a_cold_boot(
    template: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    spoil(template / name, change)
    forget_digests(template)
    with heard() as (starts, notes), boot("bookworm", purpose=f"{name} was damaged") as guest:
        assert guest.is_up()
    (start,) = starts
    assert start.start == "cold"
    assert start.start_reason.startswith("the template did not serve: ")
    assert any("trying again" in note for note in notes)
    assert not template.exists(), "the next machine has a new one"


def test_a_template_whose_memory_is_lost_is_seen_at_a_glance_and_made_anew(template: Path) -> None:
    was = (template / "ram").stat()
    os.truncate(template / "ram", 0)
    os.truncate(template / "ram", was.st_size)
    os.utime(template / "ram", ns=(was.st_atime_ns, was.st_mtime_ns))
    with heard() as (starts, notes), boot("bookworm", purpose="its memory was lost") as guest:
        assert guest.is_up()
    assert [start.start for start in starts] == ["clone"]
    assert "the template of bookworm is damaged: ram has other bytes than when it was made; dropped" in notes
    assert not template.exists()
