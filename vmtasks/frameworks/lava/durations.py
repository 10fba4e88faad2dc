"""Limits of time as LAVA's second version writes them: ``{minutes: 5, seconds: 30}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmtasks.config.toml_words import described
from vmtasks.errors import UsageError
from vmtasks.frameworks.lava.keys import expect_known, mapping_at

_UNITS_S = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
LONGEST_S = 366 * 86400
"""No job means to wait for longer."""


def seconds_at(table: Mapping[str, Any], key: str, where: str) -> float | None:
    """Return the seconds that a key has; None if it is not there.

    :param where: the file and the key path, for messages.
    :raise UsageError: it is no duration, or an odd one.
    """
    if key not in table:
        return None
    place, total = f"{where}.{key}", 0.0
    for unit, number in mapping_at(table, key, where).items():
        if unit == "skip":  # what LAVA does at the limit, for a device that others wait for
            continue
        expect_known(unit, place, _UNITS_S, what="key")
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise UsageError(f"{place}: key '{unit}' must be a number, not {described(number)}")
        total += min(number, LONGEST_S) * _UNITS_S[unit]
    if not 1 <= total <= LONGEST_S:
        raise UsageError(f"{place} must be from a second to a year: it is {{minutes: 5}}, for example")
    return total
