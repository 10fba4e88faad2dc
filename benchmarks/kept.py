"""What it costs that what is kept lasts, and that damage of it is found."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measurement import Rows, at_most, bake, in_turn, slower, timed
from vmtasks import events
from vmtasks.cache import snapshots
from vmtasks.cache.digest import damage_of, digests_of
from vmtasks.cache.snapshot import FILES
from vmtasks.config.paths import cache_dir
from vmtasks.files import durable
from vmtasks.image.baked import find_baked
from vmtasks.image.definition import find

GLANCE_AT_MOST_S = 0.003
"""What a start may take longer for it."""
_SMALL_BYTES = 4096
_GLANCES = 50


def lasting(runs: int) -> Rows:
    """Measure names that last against names that do not: of an image, whose bytes the disk has to take, and a result.

    Where bytes that nobody waits for go to the disk as well, later on, this tells more of the disk than of us.
    """
    bake("bookworm")
    image = find_baked(find("bookworm"))
    if image is None:
        raise AssertionError("it has just been baked")
    with TemporaryDirectory(prefix=".bench-", dir=cache_dir()) as name, events.phase("lasting names"):
        directory = Path(name)
        ours, against = in_turn(
            runs, lambda: _image_s(image.disk, directory, lasting=True), lambda: _image_s(image.disk, directory)
        )
        size_mib = image.disk.stat().st_size >> 20
        yield slower(f"a copy of {size_mib} MiB with a name that lasts; against one that need not", None, ours, against)
        ours, against = in_turn(runs * 10, lambda: _small_s(directory, lasting=True), lambda: _small_s(directory))
        yield slower("a result with a name that lasts; against one that need not", None, ours, against)


def _image_s(disk: Path, directory: Path, *, lasting: bool = False) -> float:
    part, final = directory / ".part", directory / "image"
    shutil.rmtree(final, ignore_errors=True)
    part.mkdir()

    def work() -> None:
        shutil.copy(disk, part)
        durable.rename(part, final, lasting=lasting)

    return timed(work)


def _small_s(directory: Path, *, lasting: bool = False) -> float:
    def work() -> None:
        (directory / ".new").write_bytes(bytes(_SMALL_BYTES))
        durable.rename(directory / ".new", directory / "result", lasting=lasting)

    return timed(work)


def glances() -> Rows:
    """Measure the look for damage that each start takes, at an image and at a template, where there is one."""
    bake("bookworm")
    image = find_baked(find("bookworm"))
    if image is None:
        raise AssertionError("it has just been baked")
    templates = [one.directory for one in snapshots.all_snapshots() if (one.kind, one.name) == ("template", "bookworm")]
    looks = [(image.directory, digests_of(image.directory, _there(image.directory)))]
    looks += ((path, digests_of(path, FILES)) for path in templates[-1:])
    times = [timed(lambda: [damage_of(*look) for look in looks]) for _ in range(_GLANCES)]
    yield at_most(f"a glance at {' and '.join(('an image', 'a template')[: len(looks)])}", GLANCE_AT_MOST_S, (*times,))
    times = [timed(lambda: [damage_of(*look, completely=True) for look in looks]) for _ in range(3)]
    yield at_most("reading all of them (inv images.check)", None, (*times,))


def _there(directory: Path) -> list[str]:
    names = ("disk.qcow2", "vmlinuz", "initrd", "root.tar.zst", "id_ed25519", "known_hosts")
    return [name for name in names if (directory / name).exists()]
