"""Which bakes prune leaves to others: another checkout's definitions of the same images may still be in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SPARED_S = 7 * 24 * 3600.0
"""How long what has served is safe."""


def spared(manifests: Mapping[str, Mapping[str, Any]], used_s: Mapping[str, float], *, now_s: float) -> frozenset[str]:
    """Return which bakes have served within some days, with all that they stand on, by their serials.

    Of two of the same key only the newest counts: the older one serves nobody any more.

    :param manifests: those of all bakes.
    :param used_s: when each served last, in seconds since the epoch, as *now_s* is.
    """
    in_turn = sorted(manifests, key=lambda serial: float(manifests[serial]["baked_s"]))
    newest = {(manifests[serial]["name"], manifests[serial]["key"]): serial for serial in in_turn}.values()
    found: set[str] = set()
    for serial in newest:
        lineage = [serial]
        while (parent := manifests[lineage[-1]]["parent"]) in newest and parent not in lineage:
            lineage.append(parent)
        if parent is None and now_s - used_s[serial] < SPARED_S:
            found.update(lineage)
    return frozenset(found)
