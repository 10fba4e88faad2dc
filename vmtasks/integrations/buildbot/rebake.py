"""Which images a Buildbot is to bake anew."""

from __future__ import annotations

from collections.abc import Iterable

from vmtasks.config.paths import image_dirs
from vmtasks.image.definition import find
from vmtasks.project import Images


def bakes(images: Iterable[str]) -> list[tuple[str, ...]]:
    """Return what ``inv images.bake`` is to be told, in turn, so that runs with ``IMAGE=`` these begin with today's.

    What stands on an image that was baked anew is stale, and is baked as any that is not there.

    :raise UsageError: there is no such image.
    """
    pairs = [Images.like(name, image_dirs()) for name in images]
    used = {image: find(image).lineage[0].name for pair in pairs for image in (pair.install, pair.build)}
    roots = sorted({*used.values()})
    return [*((root, "--refresh") for root in roots), *((image,) for image in used if image not in roots)]
