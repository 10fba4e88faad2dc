"""From a definition to a baked image, once, however many ask for it at the same time."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vmtasks import events
from vmtasks.cache.entry import incomplete
from vmtasks.config.here import task_line
from vmtasks.config.settings import HostSettings
from vmtasks.errors import HostError
from vmtasks.files import durable
from vmtasks.image import baked as cache
from vmtasks.image import boot_loader, cloud_image, mirror, mmdebstrap, pockets
from vmtasks.image.baked import BakedImage
from vmtasks.image.damage import described, find_whole
from vmtasks.image.definition import Definition, File
from vmtasks.image.repositories import files_of

_SCAFFOLDS = ("packages.json", "archives", "seed.iso", "id_ed25519.pub", "ssh_host_key.pub")
_DIRECT = ("vmlinuz", "initrd")
"""What an image with a boot loader was booted with, while that was installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSteps:
    """What is left to do in the booted guest."""

    seed: Path | None = None
    repositories: tuple[File, ...] = ()
    """What has apt know more sources of packages, before anything is installed."""
    packages: tuple[str, ...] = ()
    tree: Path | None = None
    files: tuple[File, ...] = ()
    home: Path
    """Where the sources of *files* are."""
    commands: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.seed or self.repositories or self.packages or self.tree or self.files or self.commands)


def guest_steps_of(definition: Definition, archive: str = "") -> GuestSteps:
    """Return all of a layer as work in a booted guest.

    :param archive: where the guest has Debian's archive from.
    :raise HostError: that would have to be known.
    """
    return GuestSteps(
        repositories=files_of(definition, archive),
        packages=(*definition.boot_packages, *definition.packages),
        tree=definition.home.parent / definition.tree if definition.tree else None,
        files=definition.files,
        home=definition.home.parent,
        commands=tuple(step.run for step in definition.steps),
    )


GuestStepsRunner = Callable[[Definition, BakedImage, GuestSteps], Mapping[str, str]]
"""Boots a half-made image in place, does the work, powers it off, and returns the packages that it then has.

Handed in from above, because the machine stands on images, and not the other way round.
"""


def ensure(
    definition: Definition, run_guest_steps: GuestStepsRunner, settings: HostSettings, *, refresh: bool = False
) -> BakedImage:
    """Return the baked image, after baking it and its ancestors where that has not been done.

    :param refresh: bake it and its ancestors anew, with today's packages.
    :raise HostError: this host cannot bake it.
    """
    keys = cache.keys_of(definition)
    baked = None if refresh else find_whole(definition, keys)  # what is beneath it need not be whole
    for number, layer in enumerate(() if baked else definition.lineage, start=1):
        baked = _ensure_layer(layer, keys[:number], baked, run_guest_steps, settings, refresh=refresh)
    if baked is None:
        raise AssertionError("a lineage is never empty")
    if missing := pockets.missing(definition.lineage[0].suite, baked.manifest):
        text = f"{definition.name} was baked without {' and '.join(missing)} of Debian's archive"
        remedy = f"{task_line(f'images.bake {definition.listed_name} --refresh')} bakes it anew"
        events.emit(events.Note(text=f"{text}; {remedy}", level="warning"))
    return baked


def _ensure_layer(
    definition: Definition,
    keys: tuple[str, ...],
    parent: BakedImage | None,
    run_guest_steps: GuestStepsRunner,
    settings: HostSettings,
    *,
    refresh: bool,
) -> BakedImage:
    if not refresh and (found := find_whole(definition, keys)):
        return found
    with cache.bake_lock(definition.name) as waited:
        if (waited or not refresh) and (found := find_whole(definition, keys)):
            return found  # another process has just baked it
        with events.phase("bake", detail=definition.name):
            return _bake(definition, parent, run_guest_steps, settings)


def _bake(
    definition: Definition, parent: BakedImage | None, run_guest_steps: GuestStepsRunner, settings: HostSettings
) -> BakedImage:
    images = cache.images_dir()
    key = cache.key_of(definition)
    began_s = time.time()
    final = images / f"{definition.name}-{key}-{int(began_s * 1000):x}"
    out = images / f".{definition.name}_{os.getpid()}_{time.monotonic_ns():x}.part"  # no name has such a line in it
    log = images / f"{definition.name}.bake.log"
    manifest: dict[str, Any] = {
        "name": definition.name,
        "key": key,
        "parent": parent.serial if parent else None,
        "architecture": definition.architecture,
        "baked_s": began_s,
    }
    try:
        cache.sweep()
        with incomplete(out):
            log.unlink(missing_ok=True)
            work = _first_part(definition, parent, out, settings, log)
            manifest |= _archives(parent, out)
            if work:
                (out / "root.tar.zst").unlink(missing_ok=True)  # what the guest does to the disk is not in there
                manifest["packages"] = run_guest_steps(definition, BakedImage(directory=out, manifest=manifest), work)
            else:
                manifest["packages"] = json.loads((out / "packages.json").read_text())
            for scaffold in _SCAFFOLDS + (_DIRECT if definition.boot_loader != "none" else ()):
                (out / scaffold).unlink(missing_ok=True)
            manifest["kernel"] = (out / "vmlinuz").exists()
            manifest |= described(out)
            (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
            durable.rename(out, final)
    except OSError as problem:
        raise HostError(f"cannot bake {definition.name} in {images}: {problem.strerror or problem}") from problem
    return BakedImage(directory=final, manifest=manifest)


def _first_part(
    definition: Definition, parent: BakedImage | None, out: Path, settings: HostSettings, log: Path
) -> GuestSteps:
    """Do what needs no running guest; return what does."""
    if definition.suite or (parent is not None and parent.tree is not None):
        mmdebstrap.bake(definition, parent, out, settings, log)
        in_guest = [step.run for step in definition.steps if step.where == "guest"]
        if definition.boot_loader != "none":
            in_guest.append(boot_loader.install_script(definition))
        return GuestSteps(home=definition.home.parent, commands=tuple(in_guest))
    everything = guest_steps_of(definition, parent.archive if parent else "")
    if parent is not None:
        for name in ("disk.qcow2", "vmlinuz", "initrd", "id_ed25519", "known_hosts"):
            if (parent.directory / name).exists():
                shutil.copy(parent.directory / name, out / name)
        return everything
    mmdebstrap.make_keys(out, definition.name)
    cloud_image.fetch(definition, out)
    seed = cloud_image.make_seed(definition, out)
    (out / "ssh_host_key").unlink()
    return replace(everything, seed=seed)


def _archives(parent: BakedImage | None, out: Path) -> dict[str, Any]:
    """Return what the manifest records of the archives whose lists are in the image; nothing where it is not known."""
    listed = out / "archives"
    if listed.exists():
        return pockets.told(mirror.parse(listed.read_text()))
    return {key: parent.manifest[key] for key in ("pockets", "repositories") if parent and key in parent.manifest}
