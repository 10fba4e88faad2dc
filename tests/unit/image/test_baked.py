"""Baked images: what their key depends on, which one counts, and what pruning may take."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from vmtasks.cache.entry import incomplete
from vmtasks.errors import HostError
from vmtasks.image import baked as cache
from vmtasks.image.baked import BakedImage
from vmtasks.image.definition import find, overlay_links

BASE = 'suite = "bookworm"\npackages = ["one"]\n'
LAYER = 'from = "base"\n'


@dataclass(frozen=True, slots=True)
class Kitchen:
    """Definitions, and a cache with bakes that nobody has baked."""

    definitions: Path
    images: Path

    def say(self, name: str, text: str) -> None:
        (self.definitions / f"{name}.toml").write_text(text, encoding="utf-8")

    def key(self, name: str) -> str:
        return cache.key_of(find(name))

    def bake(self, name: str, *, at_s: float = 1000.0, parent: BakedImage | None = None, key: str = "") -> BakedImage:
        key = key or self.key(name)
        directory = self.images / f"{name}-{key}-{int(at_s * 1000):x}"
        directory.mkdir(parents=True)
        manifest = {"name": name, "key": key, "parent": parent.serial if parent else None, "baked_s": at_s}
        manifest |= {"disk_bytes": 10_000, "kernel": False}
        (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        (directory / "disk.qcow2").write_bytes(b"x" * 10_000)
        (directory / "in-use").touch()
        os.utime(directory / "in-use", (at_s, at_s))
        return BakedImage(directory=directory, manifest=manifest)

    def there(self) -> set[str]:
        return {path.name for path in self.images.iterdir() if path.is_dir()}


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    monkeypatch.delenv("VMTASKS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path / "images"))
    (tmp_path / "images").mkdir()
    made = Kitchen(tmp_path / "images", tmp_path / "cache" / "vmtasks" / "images")
    made.say("base", BASE)
    made.say("layer", LAYER)
    return made


@contextmanager
def held(lock: Path, how: int = fcntl.LOCK_SH) -> Iterator[None]:
    """Hold a lock as another process would: another open file is as good as one."""
    fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)


# ---- the key


def test_the_keys_of_a_lineage_are_those_of_each(kitchen: Kitchen) -> None:
    kitchen.say("layer", 'from = "base"\n')
    kitchen.say("upper", 'from = "layer"\n')
    assert cache.keys_of(find("upper")) == tuple(map(kitchen.key, ("base", "layer", "upper")))


def test_the_key_is_a_short_name_and_always_the_same(kitchen: Kitchen) -> None:
    assert kitchen.key("base") == kitchen.key("base")
    assert len(kitchen.key("base")) == 16
    assert int(kitchen.key("base"), 16)


@pytest.mark.parametrize(
    "more",
    [
        'packages = ["one", "two"]',
        'boot_packages = ["two"]',
        'mirror = "http://mirror.example"',
        'architecture = "i386"',
        'modules = ["ext4"]',
        "disk_gib = 5",
        '[[steps]]\nrun = "true"',
        '[[files]]\npath = "/a"\ncontent = "a"',
    ],
)
def test_the_key_changes_with_what_is_baked(kitchen: Kitchen, more: str) -> None:
    before, above = kitchen.key("base"), kitchen.key("layer")
    kitchen.say("base", f'suite = "bookworm"\n{more}\n')
    assert kitchen.key("base") != before
    assert kitchen.key("layer") != above, "what a layer stands on is part of it"


@pytest.mark.parametrize(
    "more",
    [
        'description = "x"',
        "memory_mib = 4096",
        "cpus = 8",
        'network = "none"',
        'kernel_options = "quiet"',
        '[ec2]\nami = "ami-1"',
    ],
)
def test_the_key_stays_with_what_only_makes_the_machine(kitchen: Kitchen, more: str) -> None:
    before, above = kitchen.key("base"), kitchen.key("layer")
    kitchen.say("base", f"{BASE}{more}\n")
    assert (kitchen.key("base"), kitchen.key("layer")) == (before, above)


def test_the_key_does_not_depend_on_where_the_definitions_are(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kitchen.key("layer")
    elsewhere = kitchen.definitions.rename(kitchen.definitions.with_name("moved"))
    monkeypatch.setenv("VMTASKS_IMAGES", str(elsewhere))
    assert kitchen.key("layer") == before


@pytest.mark.parametrize("text", ['tree = "tree"', '[[files]]\npath = "/f"\nsource = "tree/f"'])
def test_the_key_changes_with_a_files_content_and_mode(kitchen: Kitchen, text: str) -> None:
    file = kitchen.definitions / "tree" / "f"
    file.parent.mkdir()
    file.write_text("one")
    file.chmod(0o644)
    kitchen.say("base", f'suite = "bookworm"\n{text}\n')
    keys = [kitchen.key("base")]
    file.write_text("two")
    keys.append(kitchen.key("base"))
    file.chmod(0o755)
    keys.append(kitchen.key("base"))
    assert len(set(keys)) == 3
    file.write_text("one")
    file.chmod(0o644)
    assert kitchen.key("base") == keys[0], "the time of a change is no content"


@pytest.mark.parametrize(("mode", "like"), [(0o600, 0o644), (0o664, 0o644), (0o700, 0o755), (0o775, 0o755)])
def test_the_key_does_not_change_with_the_umask_of_a_checkout(kitchen: Kitchen, mode: int, like: int) -> None:
    kitchen.say("base", 'suite = "bookworm"\ntree = "tree"\n')
    file = kitchen.definitions / "tree" / "etc" / "f"
    file.parent.mkdir(parents=True)
    file.touch()
    keys = []
    for file_mode, directory_mode in ((mode, 0o700), (like, 0o755)):
        file.chmod(file_mode)
        file.parent.chmod(directory_mode)
        keys.append(kitchen.key("base"))
    assert keys[0] == keys[1]


def test_the_key_changes_with_a_files_name_and_a_links_target(kitchen: Kitchen) -> None:
    kitchen.say("base", 'suite = "bookworm"\ntree = "tree"\n')
    tree = kitchen.definitions / "tree"
    tree.mkdir()
    keys = {kitchen.key("base")}
    for target in ("one", "two", "/"):
        (tree / "link").symlink_to(target)
        keys.add(kitchen.key("base"))
        (tree / "link").rename(tree / "other")
        keys.add(kitchen.key("base"))
        (tree / "other").unlink()
    assert len(keys) == 7


def test_a_masked_unit_has_the_same_key_and_place_as_a_link_and_as_an_empty_file(kitchen: Kitchen) -> None:
    kitchen.say("base", 'suite = "bookworm"\ntree = "tree"\n')
    unit = kitchen.definitions / "tree/etc/systemd/system/fstrim.timer"
    unit.parent.mkdir(parents=True)
    unit.symlink_to("/dev/null")
    as_link = kitchen.key("base"), overlay_links(kitchen.definitions / "tree")
    unit.unlink()
    unit.touch()
    assert (kitchen.key("base"), overlay_links(kitchen.definitions / "tree")) == as_link
    assert as_link[1] == {"etc/systemd/system/fstrim.timer": "/dev/null"}
    unit.write_text("[Timer]\n")
    assert kitchen.key("base") != as_link[0]
    unit.rename(unit.parents[2] / "motd").write_text("")
    assert overlay_links(kitchen.definitions / "tree") == {}, "elsewhere, an empty file is one"


def test_a_source_may_be_given_absolutely_and_have_any_name(kitchen: Kitchen, tmp_path: Path) -> None:
    source = tmp_path / "elsewhere"
    source.write_text("one")
    kitchen.say("base", f'suite = "bookworm"\ntree = "tree"\n[[files]]\npath = "/f"\nsource = "{source}"\n')
    tree = kitchen.definitions / "tree"
    tree.mkdir()
    Path(os.fsdecode(os.fsencode(tree) + b"/\xff")).touch()
    before = kitchen.key("base")
    source.write_text("two")
    assert kitchen.key("base") != before


def test_the_key_notices_another_disk_image_of_the_same_name(kitchen: Kitchen) -> None:
    kitchen.say("own", 'path = "own.raw"')
    missing = kitchen.key("own")
    disk = kitchen.definitions / "own.raw"
    disk.write_bytes(b"one")
    before = kitchen.key("own")
    os.utime(disk, ns=(1, 1))
    assert len({missing, before, kitchen.key("own")}) == 3


def test_a_disk_image_that_is_known_by_its_sum_may_be_touched_and_go(kitchen: Kitchen) -> None:
    kitchen.say("own", f'path = "own.raw"\nsha256 = "{"a" * 64}"')
    disk = kitchen.definitions / "own.raw"
    disk.write_bytes(b"one")
    before = kitchen.key("own")
    disk.unlink()
    assert kitchen.key("own") == before


# ---- which bake counts


def test_without_a_cache_nothing_is_baked(kitchen: Kitchen) -> None:
    assert cache.find_baked(find("base")) is None
    assert cache.all_baked() == ()
    assert cache.prune() == (0, (), ())


def test_the_newest_bake_counts(kitchen: Kitchen) -> None:
    for at_s in (3000.0, 9000.0, 2000.0):
        kitchen.bake("base", at_s=at_s)
    found = cache.find_baked(find("base"))
    assert found is not None
    assert found.manifest["baked_s"] == 9000.0
    assert found.key == kitchen.key("base")


def test_a_bake_of_another_definition_does_not_count(kitchen: Kitchen) -> None:
    kitchen.bake("base")
    kitchen.say("base", BASE + "disk_gib = 7\n")
    assert cache.find_baked(find("base")) is None
    assert len(cache.all_baked()) == 1


def test_names_that_begin_alike_are_kept_apart(kitchen: Kitchen) -> None:
    kitchen.say("base-build", BASE)
    kitchen.bake("base-build", key=kitchen.key("base"))
    assert cache.find_baked(find("base")) is None


def test_a_layer_counts_while_it_stands_on_the_current_bake_of_its_parent(kitchen: Kitchen) -> None:
    base = kitchen.bake("base", at_s=1000.0)
    layer = kitchen.bake("layer", at_s=2000.0, parent=base)
    assert cache.find_baked(find("layer")) == layer

    again = kitchen.bake("base", at_s=3000.0)
    assert cache.find_baked(find("layer")) is None

    on_top = kitchen.bake("layer", at_s=4000.0, parent=again)
    assert cache.find_baked(find("layer")) == on_top


def test_a_layer_whose_parent_is_gone_does_not_count(kitchen: Kitchen) -> None:
    base = kitchen.bake("base")
    layer = kitchen.bake("layer", parent=base)
    assert cache.find_baked(find("layer")) == layer
    for file in base.directory.iterdir():
        file.unlink()
    base.directory.rmdir()
    assert cache.find_baked(find("layer")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"name": "base"}', "\x00", "\udcff"])
def test_a_damaged_bake_does_not_count_and_is_pruned(kitchen: Kitchen, text: str) -> None:
    whole = kitchen.bake("base", at_s=1000.0)
    damaged = kitchen.bake("base", at_s=2000.0)
    (damaged.directory / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    assert cache.find_baked(find("base")) == whole
    assert cache.all_baked() == (whole,)
    with held(damaged.in_use):
        assert [baked.serial for baked in cache.prune()[1]] == [damaged.serial]
    freed_bytes, busy, _ = cache.prune()
    assert freed_bytes >= 10_000
    assert busy == ()
    assert kitchen.there() == {whole.serial}


def test_a_bake_whose_disk_was_cut_short_does_not_count(kitchen: Kitchen) -> None:
    baked = kitchen.bake("base")
    assert cache.read_baked(baked.directory) == baked
    os.truncate(baked.disk, 9_999)
    assert cache.find_baked(find("base")) is None
    with pytest.raises(HostError, match="or it is damaged"):
        cache.read_baked(baked.directory)


def test_what_is_being_baked_does_not_count_even_when_it_is_nearly_done(kitchen: Kitchen) -> None:
    kitchen.say("base-build", BASE)
    baked = kitchen.bake("base-build")
    baked.directory.rename(kitchen.images / ".base-build_1.part")
    assert cache.all_baked() == ()


def test_a_bake_knows_its_files(kitchen: Kitchen) -> None:
    baked = kitchen.bake("base", at_s=0.0)
    assert (baked.kernel, baked.tree) == (None, None)
    for name in ("vmlinuz", "initrd", "root.tar.zst"):
        (baked.directory / name).touch()
    baked = replace(baked, manifest={**baked.manifest, "kernel": True})
    assert (baked.kernel, baked.tree) == (baked.directory / "vmlinuz", baked.directory / "root.tar.zst")
    assert baked.age_s > 40 * 365 * 86400
    assert baked.size_bytes >= 10_000


# ---- pruning


def test_prune_takes_what_nobody_asks_for_and_keeps_what_is_current(kitchen: Kitchen) -> None:
    kitchen.bake("base", at_s=1000.0)
    current = kitchen.bake("base", at_s=2000.0)
    kitchen.bake("base", at_s=3000.0, key="0123456789abcdef")
    kitchen.bake("nobody-defines-it", key="0123456789abcdef")
    layer = kitchen.bake("layer", parent=current)
    freed_bytes, busy, _ = cache.prune()
    assert kitchen.there() == {current.serial, layer.serial}
    assert freed_bytes >= 3 * 10_000
    assert busy == ()


def test_prune_takes_a_layer_that_stands_on_what_was_baked_anew(kitchen: Kitchen) -> None:
    kitchen.bake("layer", parent=kitchen.bake("base", at_s=1000.0))
    again = kitchen.bake("base", at_s=2000.0)
    cache.prune()
    assert kitchen.there() == {again.serial}


def test_prune_spares_for_some_days_what_another_definition_has_used(kitchen: Kitchen) -> None:
    ours = kitchen.bake("base")
    base = kitchen.bake("base", key="0" * 16, at_s=1000.0)
    layer = kitchen.bake("layer", key="1" * 16, parent=base)
    before = kitchen.bake("layer", key="1" * 16, at_s=900.0, parent=base)
    astray = kitchen.bake("layer", key="2" * 16, parent=kitchen.bake("base", key="0" * 16, at_s=900.0))
    unknown = kitchen.bake("of-another-checkout", key="3" * 16)
    for one in (layer, before, astray, unknown):
        one.touch()
    assert cache.prune()[2] == (base.serial, layer.serial, unknown.serial)
    assert kitchen.there() == {ours.serial, base.serial, layer.serial, unknown.serial}
    then_s = time.time() - 8 * 24 * 3600
    for one in (layer, unknown):
        os.utime(one.in_use, (then_s, then_s))
    assert cache.prune()[2] == ()
    assert kitchen.there() == {ours.serial}


def test_prune_everything_spares_nothing(kitchen: Kitchen) -> None:
    kitchen.bake("base", key="0" * 16).touch()
    assert cache.prune(everything=True)[2] == ()
    assert kitchen.there() == set()


def test_prune_takes_the_bakes_of_a_broken_definition(kitchen: Kitchen) -> None:
    kitchen.bake("base")
    kitchen.say("base", "suite = ")
    cache.prune()
    assert kitchen.there() == set()


def test_prune_keeps_what_somebodys_disk_stands_on(kitchen: Kitchen, tmp_path: Path) -> None:
    used = kitchen.bake("base", key="0123456789abcdef")
    disk = tmp_path / "vm install.qcow2"
    used.lay_under(disk)
    disk.touch()
    _, busy, _ = cache.prune(everything=True)
    assert [baked.serial for baked in busy] == [used.serial]
    disk.unlink()
    cache.prune(everything=True)
    assert kitchen.there() == set()


def test_prune_keeps_what_a_machine_stands_on(kitchen: Kitchen) -> None:
    used = kitchen.bake("base", key="0123456789abcdef")
    unused = kitchen.bake("base", key="fedcba9876543210")
    with held(used.in_use):
        _, busy, _ = cache.prune()
        assert [baked.serial for baked in busy] == [used.serial]
        assert kitchen.there() == {used.serial}
        assert unused.serial not in kitchen.there()
    assert cache.prune()[1] == ()
    assert kitchen.there() == set()


def test_prune_everything_still_keeps_what_a_machine_stands_on(kitchen: Kitchen) -> None:
    base = kitchen.bake("base")
    kitchen.bake("layer", parent=base)
    with held(base.in_use):
        _, busy, _ = cache.prune(everything=True)
        assert [baked.serial for baked in busy] == [base.serial]
    cache.prune(everything=True)
    assert kitchen.there() == set()


def test_prune_leaves_what_nobody_here_would_have_made(kitchen: Kitchen) -> None:
    strangers = [kitchen.images / name for name in ("pictures-2024", "base", "notes-0123456789abcdef")]
    for path in strangers:
        path.mkdir(parents=True)
    cache.prune(everything=True)
    assert all(path.exists() for path in strangers)


def test_prune_does_not_mind_another_that_is_quicker(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    here = cache.on_disk
    ours, theirs = kitchen.bake("gone", at_s=1.0, key="0" * 16), kitchen.bake("gone", at_s=2.0, key="0" * 16)

    def listed_before_they_went() -> Iterator[BakedImage]:
        found = list(here())
        assert theirs.drop()
        yield from found

    monkeypatch.setattr(cache, "on_disk", listed_before_they_went)
    size_bytes = ours.size_bytes
    assert cache.prune() == (size_bytes, (), ())
    assert kitchen.there() == set()


def test_prune_takes_what_killed_bakes_left_and_leaves_one_that_is_at_work_alone(kitchen: Kitchen) -> None:
    left, at_work = (kitchen.images / f".{name}_{os.getpid()}.part" for name in ("base", "layer"))
    (left / "scratch").mkdir(parents=True)
    (left / "disk.raw").touch()
    with incomplete(at_work):
        assert cache.prune() == (0, (), ())
        assert kitchen.there() == {at_work.name}
        at_work.rename(kitchen.images / "layer")
    assert kitchen.there() == {"layer"}


# ---- the lock


def test_whoever_bakes_alone_has_not_waited(kitchen: Kitchen) -> None:
    with cache.bake_lock("base") as waited:
        assert waited is False
        with cache.bake_lock("layer") as other_waited:
            assert other_waited is False


def test_a_cache_that_cannot_be_is_the_hosts_fault(kitchen: Kitchen) -> None:
    kitchen.images.parent.parent.mkdir()
    kitchen.images.parent.write_text("a file where a directory belongs")
    with pytest.raises(HostError, match="cannot write to the cache") as caught, cache.bake_lock("base"):
        pass
    assert "XDG_CACHE_HOME" in caught.value.hint
