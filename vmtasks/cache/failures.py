"""Which of the machines that were frozen as they failed are kept: all but the old ones, and those beyond their room."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from vmtasks.cache.snapshot import Snapshot
from vmtasks.config.settings import HostSettings

_DAY_S = 86400.0
_MIB = 1024 * 1024


def beyond(snapshots: Iterable[Snapshot], settings: HostSettings) -> list[Snapshot]:
    """Return which of some snapshots are to go: too old, or too large together with all that are younger.

    Others than those of failures never are. The youngest one has room, however large it is: it is the one that its
    user was just told of, and all snapshots together have a bound of their own.
    """
    youngest_first = sorted((one for one in snapshots if one.kind == "failure"), key=lambda one: one.age_s)
    sums_bytes = accumulate(one.size_bytes for one in youngest_first)
    return [
        one
        for number, (one, sum_bytes) in enumerate(zip(youngest_first, sums_bytes, strict=True))
        if (settings.reopen_days and one.age_s > settings.reopen_days * _DAY_S)
        or (number and sum_bytes > settings.reopen_mib * _MIB)
    ]
