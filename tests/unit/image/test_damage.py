"""Damaged images: found before a machine starts, removed with a note, and baked anew."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.keys import make_keys
from vmtasks import events
from vmtasks.config.settings import HostSettings
from vmtasks.errors import HostError
from vmtasks.host.flock import flock
from vmtasks.image import bake, baked, damage
from vmtasks.image.baked import BakedImage, read_baked
from vmtasks.image.definition import Definition, find

FILES = ("disk.qcow2", "vmlinuz", "initrd", "root.tar.zst", "id_ed25519", "known_hosts")
Make = Callable[..., BakedImage]


def spoil(path: Path, way: str) -> None:
    """Damage a file in one of the ways that disks, power cuts and people do."""
    size = path.stat().st_size
    match way:
        case "missing":
            path.unlink()
        case "empty":
            os.truncate(path, 0)
        case "cut short":
            os.truncate(path, size // 2)
        case "zeros":
            path.write_bytes(bytes(size))
        case "garbage":
            path.write_bytes(os.urandom(size))
        case "header":
            path.write_bytes(b"?" * 20 + path.read_bytes()[20:])
        case "end":
            path.write_bytes(path.read_bytes()[:-20] + b"?" * 20)


WAYS = ("missing", "empty", "cut short", "zeros", "garbage", "header", "end")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a bake of "base" without baking; it is what :func:`bake.ensure` then makes, too."""
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path / "images"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "base.toml").write_text('suite = "bookworm"\n')
    times = iter(range(1, 100))

    def made(*, digests: bool = True) -> BakedImage:
        key, at_s = baked.key_of(find("base")), float(next(times))
        directory = baked.images_dir() / f"base-{key}-{int(at_s):x}"
        directory.mkdir(parents=True)
        (directory / "disk.qcow2").write_bytes(b"QFI\xfb" + os.urandom(1 << 20))
        for name in ("vmlinuz", "initrd", "root.tar.zst"):
            (directory / name).write_bytes(os.urandom(1 << 19))
        make_keys(directory)
        (directory / "in-use").touch()
        manifest: dict[str, Any] = {"name": "base", "key": key, "parent": None, "baked_s": at_s, "kernel": True}
        described = damage.described(directory)
        manifest |= described if digests else {"disk_bytes": described["disk_bytes"]}
        (directory / "manifest.json").write_text(json.dumps(manifest))
        return read_baked(directory)

    def instead(*_: object) -> BakedImage:
        return made()

    monkeypatch.setattr(bake, "_bake", instead)
    monkeypatch.setattr(damage, "_told", set())
    return made


def ensure() -> tuple[BakedImage, list[str]]:
    """Return the image as a run would have it, and what the run is told on the way."""
    heard: list[events.Event] = []

    def unused(*_: object) -> dict[str, str]:
        raise AssertionError("nothing is finished in a guest")

    with events.listening(heard.append):
        image = bake.ensure(find("base"), unused, HostSettings())
    told = [note.text for note in heard if isinstance(note, events.Note)]
    return image, [text for text in told if "is damaged" in text]


def test_a_whole_image_is_taken_as_it_is(make: Make) -> None:
    image = make()
    assert ensure() == (image, [])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_image_is_dropped_with_a_note_and_made_anew(make: Make, name: str, way: str) -> None:
    image = make()
    spoil(image.directory / name, way)
    other, told = ensure()
    assert not image.directory.exists()
    assert other.serial != image.serial
    (note,) = told
    assert note.startswith(("the image base is damaged: its manifest", f"the image base is damaged: {name} "))
    assert note.endswith("; dropped")
    assert ensure() == (other, [])


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "\x00" * 100, "[" * 100_000, '{"digests": 5, %s}', '{"digests": {"initrd": 5}, %s}',
     '{"baked_s": "x", %s}', '{"baked_s": 1e999, %s}', '{"baked_s": -1, %s}', '{"parent": 5, %s}', '{"key": [], %s}'],
)  # fmt: skip
def test_a_damaged_manifest_is_none(make: Make, text: str) -> None:
    image = make()
    others = {name: value for name, value in image.manifest.items() if f'"{name}"' not in text}
    (image.directory / "manifest.json").write_text(text.replace("%s", json.dumps(others)[1:-1]))
    other, (note,) = ensure()
    assert other.serial != image.serial
    assert note.startswith("the image base is damaged: ")
    assert not image.directory.exists()
    assert ensure() == (other, [])


def test_an_older_bake_that_is_whole_serves_where_the_newest_is_damaged(make: Make) -> None:
    older, newest = make(), make()
    spoil(newest.directory / "initrd", "zeros")
    image, told = ensure()
    assert image == older
    assert len(told) == 1


def test_a_damaged_image_stays_as_long_as_a_machine_stands_on_it(make: Make) -> None:
    image = make()
    spoil(image.directory / "vmlinuz", "zeros")
    fd = flock(image.in_use, 1)
    try:
        other, (note,) = ensure()
        assert note.endswith("; it cannot be removed now")
        assert image.disk.exists()
        assert ensure() == (other, [])
    finally:
        os.close(fd)


def test_a_damaged_image_stays_as_long_as_a_kept_disk_stands_on_it(make: Make, tmp_path: Path) -> None:
    image = make()
    (tmp_path / "kept.qcow2").touch()
    image.lay_under(tmp_path / "kept.qcow2")
    spoil(image.directory / "vmlinuz", "zeros")
    ensure()
    assert image.disk.exists()


def test_a_bake_of_an_earlier_version_counts_as_it_is(make: Make) -> None:
    image = make(digests=False)
    assert ensure() == (image, [])
    assert damage.condemn(image) == ""


@pytest.mark.parametrize("way", ["missing", "empty"])
@pytest.mark.parametrize("name", ["vmlinuz", "initrd", "id_ed25519", "known_hosts"])
def test_a_file_that_an_earlier_version_baked_must_be_there(make: Make, name: str, way: str) -> None:
    image = make(digests=False)
    spoil(image.directory / name, way)
    other, (note,) = ensure()
    assert other.serial != image.serial
    assert f"{name} is {way}" in note


def test_a_header_that_an_earlier_version_baked_must_be_one(make: Make) -> None:
    image = make(digests=False)
    spoil(image.disk, "header")
    assert ensure()[1] == ["the image base is damaged: disk.qcow2 does not begin like one; dropped"]


def test_what_came_from_another_host_has_no_keys(make: Make) -> None:
    image = make()
    for name in ("id_ed25519", "known_hosts", "root.tar.zst"):
        spoil(image.directory / name, "missing")
    assert damage.read_whole(image.directory) == image
    spoil(image.directory / "initrd", "zeros")
    with pytest.raises(HostError, match="initrd has other bytes") as caught:
        damage.read_whole(image.directory)
    assert "inv images.check" in caught.value.hint


def test_one_wrong_bit_is_found_when_all_is_read_and_the_image_goes(make: Make) -> None:
    image = make()
    samples = image.manifest["digests"]["disk.qcow2"]["samples"]
    at = next(at for at in range(300_000, 900_000) if all(not one <= at < one + 4096 for one in samples))
    data = bytearray(image.disk.read_bytes())
    data[at] ^= 1
    image.disk.write_bytes(data)
    assert ensure() == (image, [])
    assert damage.condemn(image) == "disk.qcow2 has other bytes than when it was made"
    assert not image.directory.exists()


def test_what_is_beneath_a_whole_layer_need_not_be_whole(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make()
    (Path(os.environ["VMTASKS_IMAGES"]) / "layer.toml").write_text('from = "base"\n')
    asked: list[str] = []

    def whole(definition: Definition, keys: tuple[str, ...] = ()) -> BakedImage | None:
        asked.append(f"{definition.name} {len(keys)}")
        return image

    monkeypatch.setattr(bake, "find_whole", whole)
    assert bake.ensure(find("layer"), lambda *_: {}, HostSettings()) == image
    assert asked == ["layer 2"]


def test_what_cannot_be_removed_counts_as_none_all_the_same(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make()
    spoil(image.directory / "initrd", "zeros")

    def read_only(_: BakedImage) -> bool:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(BakedImage, "drop", read_only)
    other, (note,) = ensure()
    assert other.serial != image.serial
    assert note.endswith("; it cannot be removed now")


def test_one_that_another_host_sent_is_that_hosts_and_stays(make: Make) -> None:
    sent = make()
    for name in ("id_ed25519", "known_hosts", "root.tar.zst"):
        (sent.directory / name).unlink()
    assert damage.find_whole(find("base")) is None
    assert sent.directory.is_dir()
    own = make()
    found = damage.find_whole(find("base"))
    assert found is not None
    assert found.serial == own.serial
