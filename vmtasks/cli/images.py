"""Images: list them, bake them, show one, free what is no longer asked for."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from vmtasks.cli.table import AS_JSON, Column, age, mebibytes, table, tell
from vmtasks.config.here import task_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtasks.cache.entry import CacheEntry


@task(name="list", help={"json": AS_JSON}, auto_shortflags=False)
def list_(_: Context, json: bool = False) -> None:
    """List the images that are defined, and what of them is baked."""
    from vmtasks.errors import UsageError
    from vmtasks.image import pockets
    from vmtasks.image.baked import find_baked
    from vmtasks.image.definition import find, names

    records: list[dict[str, object]] = []
    for name in names():
        try:
            definition = find(name)
        except UsageError as problem:
            records.append({"name": name, "state": "broken", "description": str(problem)})
            continue
        record: dict[str, object] = {"name": name, "state": "not baked", "description": definition.description}
        if baked := find_baked(definition):
            has = pockets.tell(definition.lineage[0].suite, baked.manifest)
            record |= {"state": "baked", "age_s": baked.age_s, "size_bytes": baked.size_bytes, "pockets": has}
        records.append(record)
    columns = (
        Column("name", "IMAGE"),
        Column("state", "STATE"),
        Column("age_s", "AGE", age),
        Column("size_bytes", "SIZE", mebibytes),
        Column("pockets", "POCKETS"),
        Column("description", "DESCRIPTION"),
    )
    print(tell(columns, records, as_json=json))


@task(
    help={"name": "the image", "refresh": "bake it and its ancestors anew, with today's packages"},
    auto_shortflags=False,
)
def bake(_: Context, name: str, refresh: bool = False) -> None:
    """Bake an image that is not there yet, or bake it anew."""
    from vmtasks.image.definition import find
    from vmtasks.process.signals import interrupt_on_signals
    from vmtasks.providers.qemu.provider import ensure_baked
    from vmtasks.report import reporting

    definition = find(name)
    with reporting(None), interrupt_on_signals():
        ensure_baked(definition, refresh=refresh)


@task(
    help={"name": "the image", "path": "print the path of its disk, after baking it if need be"}, auto_shortflags=False
)
def show(_: Context, name: str, path: bool = False) -> None:
    """Show what an image is made of and what is in it."""
    from vmtasks.image.baked import find_baked, key_of
    from vmtasks.image.definition import find
    from vmtasks.process.signals import interrupt_on_signals
    from vmtasks.providers.qemu.provider import ensure_baked
    from vmtasks.report import reporting

    definition = find(name)
    if path:
        with reporting(None), interrupt_on_signals():
            print(ensure_baked(definition).disk)
        return
    baked = find_baked(definition)
    print(f"image        {name}: {definition.description}")
    print(f"definition   {definition.home}")
    print(f"stands on    {' -> '.join(layer.name for layer in definition.lineage)}")
    print(f"content key  {key_of(definition)}")
    if baked is None:
        print(f"not baked    {task_line(f'images.bake {name}')} does it, and so does the first boot")
        return
    print(f"baked in     {baked.directory}")
    print(json.dumps(dict(baked.manifest), indent=1))


@task
def check(_: Context) -> None:
    """Read all of the images, templates, checkpoints and kernels, and remove what is damaged: it is made anew."""
    from invoke.exceptions import Exit

    from vmtasks.cache import snapshots
    from vmtasks.errors import Outcome
    from vmtasks.image.baked import all_baked
    from vmtasks.image.damage import condemn
    from vmtasks.kernel import kept as kernels

    stays = False
    kept: list[tuple[str, CacheEntry, Callable[[], str]]] = []
    kept += ((f"image {image.serial}", image, partial(condemn, image)) for image in all_baked())
    kept += ((f"{one.kind} {one.name}", one, partial(snapshots.condemn, one)) for one in snapshots.all_snapshots())
    kept += ((f"kernel {one.directory.name}", one, partial(kernels.condemn, one)) for one in kernels.kept_kernels())
    for name, one, judge in kept:
        reason = judge()
        there = one.directory.exists()
        stays |= bool(reason) and there
        fate = "it cannot be removed now" if there else "removed"
        print(f"{name}: {f'damaged: {reason}; {fate}' if reason else 'whole'}", flush=True)
    if stays:
        raise Exit(code=Outcome.HOST.exit_code)


@task(
    help={"everything": "the current ones as well: they are baked again when somebody asks for them"},
    auto_shortflags=False,
)
def prune(_: Context, everything: bool = False) -> None:
    """Remove images that no definition asks for any more, and templates and checkpoints beyond their bound.

    Never one that a machine stands on. What stays of templates and checkpoints is listed, the one that served
    longest ago first: that one goes next.
    """
    from vmtasks.cache import snapshots
    from vmtasks.config.settings import HostSettings
    from vmtasks.image.baked import prune as prune_cache
    from vmtasks.installables.kept import prune as prune_installables
    from vmtasks.kernel.kept import prune as prune_kernels

    freed_bytes, busy, spared = prune_cache(everything=everything)
    freed_bytes += prune_kernels(everything=everything) + prune_installables(everything=everything)
    snapshots.remove_old_layout()
    gone = snapshots.prune(0 if everything else snapshots.quota_bytes(HostSettings.load()))
    print(f"freed {mebibytes(freed_bytes + sum(size_bytes for _, size_bytes in gone))}")
    for one, size_bytes in gone:
        print(f"removed the {one.kind} {one.name}: {mebibytes(size_bytes)}")
    if left := snapshots.all_snapshots():
        print(table(("KIND", "NAME", "AGE", "SIZE"),
                    [(one.kind, one.name, age(one.age_s), mebibytes(one.size_bytes)) for one in left]))  # fmt: skip
    for serial in spared:
        print(f"kept {serial}: it has served another definition than these within the last 7 days")
    for baked in busy:
        print(f"kept {baked.serial}: a machine stands on it, or a disk that runvm made")
