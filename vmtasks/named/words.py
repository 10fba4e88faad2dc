"""What a caller may write for a named machine: its name, and its time to live."""

from __future__ import annotations

import re

from vmtasks.errors import UsageError

LONGEST_NAME = 40
"""Letters of a name: the guest's host name begins with it, and those of files do."""
LONGEST_TTL_S = 30 * 86400
"""No machine is meant to be there for longer: it takes a slot that others wait for."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_UNITS_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_TTL = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)


def expect_name(name: str) -> str:
    """Return a name that a machine can have.

    :raise UsageError: none can be called so.
    """
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise UsageError(
            f"a machine cannot be called '{name[:60]}': a name has letters, digits and dashes between them, "
            f"{LONGEST_NAME} at most"
        )
    return name


def ttl_s(text: str) -> int:
    """Return the seconds of a time to live: ``90s``, ``30m``, ``2h``, ``1d``, ``1h30m``.

    :raise UsageError: it is none, or longer than a machine may be there.
    """
    found = _TTL.fullmatch(text)
    counts = found.groups("0") if found else ()
    seconds = sum(int(count) * unit_s for count, unit_s in zip(counts, _UNITS_S.values(), strict=False))
    if not 1 <= seconds <= LONGEST_TTL_S:
        raise UsageError(
            f"--ttl must be a time from 1s to {shown_s(LONGEST_TTL_S)}, like 90s, 2h or 1h30m, and not '{text[:50]}'"
        )
    return seconds


def shown_s(seconds: int) -> str:
    """Return a time to live as it is written."""
    words = []
    for unit, unit_s in _UNITS_S.items():
        count, seconds = divmod(seconds, unit_s)
        words += [f"{count}{unit}"] if count else []
    return "".join(words) or "0s"
