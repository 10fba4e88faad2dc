"""The host: whether it takes new machines."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from vmtasks.cli.optional_word import WordMayBeMissing
from vmtasks.cli.table import AS_JSON
from vmtasks.config.here import page

if TYPE_CHECKING:
    from vmtasks.host.local import Host

AUTO, SHOW = "auto", "show"
"""What has the host's settings decide again; what changes nothing."""
_UNITS_S = {"min": 60, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(\d{1,6}) ?(min|m|h|d)")
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)")
_DATES = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d")


@task(
    klass=WordMayBeMissing,
    help={
        "state": "eager, reluctant, none (takes no new machines) or auto (as the settings say); without: shows it",
        "until": "when that ends: 18:00, 2h, 2026-12-24 or '2026-12-24 18:00'",
        "why": "what those read who wait",
        "reason": "the same as --why",
        "on": "where: USER@HOST; this host by default",
        "json": AS_JSON,
    },
    auto_shortflags=False,
)
def availability(
    _: Context, state: str, until: str = "", why: str = "", reason: str = "", on: str = "", json: bool = False
) -> None:
    """Show or set whether the host takes new machines, for all its users; what runs goes on."""
    from vmtasks.errors import HostError, UsageError
    from vmtasks.host import declared
    from vmtasks.host.availability import STATES
    from vmtasks.host.slots import SlotsUnavailableError

    state, reason = state or SHOW, why or reason
    if state not in {SHOW, AUTO, *STATES}:
        known = f"{', '.join(STATES)}, {AUTO} and {SHOW}"
        raise UsageError(f"a host cannot be '{state[:40]}': there are {known}", hint=f"see {page('hosts')}")
    if (until or reason) and state not in STATES:
        raise UsageError("--until and --why belong to eager, reluctant or none")
    place, until_s = _place(on), moment(until) if until else None
    try:
        if state == AUTO:
            place.call(declared.take_back)
        elif state != SHOW:
            place.call(declared.declare, state, until_s=until_s, reason=reason)
        current = place.call(declared.current)
    except SlotsUnavailableError as problem:
        raise HostError(str(problem)) from problem
    if json:
        from json import dumps

        print(dumps({**current._asdict(), "since_s": current.since_s or None}, indent=1))
    else:
        print(current)


def moment(text: str, now_s: float | None = None) -> float:
    """Return the time that a text means, in seconds since the epoch: one that is still to come.

    :raise UsageError: it means none.
    """
    from vmtasks.errors import UsageError
    from vmtasks.files import typed_json

    now_s = time.time() if now_s is None else now_s
    at_s = _moment(text.strip(), now_s)
    if at_s is None or not typed_json.fits(at_s, typed_json.SECONDS):  # what is written is read so
        raise UsageError(f"'{text[:40]}' is no time", hint="write 18:00, 90m, 2h, 3d, 2026-12-24 or '2026-12-24 18:00'")
    if at_s <= now_s:
        raise UsageError(f"cannot wait until '{text[:40]}': that has passed")
    return at_s


def _moment(text: str, now_s: float) -> float | None:
    if span := _SPAN.fullmatch(text):
        return now_s + int(span[1]) * _UNITS_S[span[2]]
    today = time.localtime(now_s)
    if clock := _CLOCK.fullmatch(text):
        hour, minute = int(clock[1]), int(clock[2])
        if hour > 24 or minute > 59:  # noqa: PLR2004
            return None
        days = (time.mktime((*today[:2], today.tm_mday + day, hour, minute, 0, 0, 0, -1)) for day in (0, 1))
        return next(at_s for at_s in days if at_s > now_s)
    for form in _DATES:
        try:
            return time.mktime(time.strptime(text, form))
        except (ValueError, OverflowError):
            continue
    return None


def _place(on: str) -> Host:
    """Return the host of that name.

    :raise UsageError: no machines of ours can be run there.
    :raise HostError: it cannot be reached.
    """
    from vmtasks.host.local import LOCAL_HOST
    from vmtasks.spec import LOCAL

    if on in {"", "here", LOCAL}:
        return LOCAL_HOST
    from vmtasks.errors import UsageError
    from vmtasks.providers.boot import provider_of
    from vmtasks.providers.qemu.provider import Qemu, place_of

    provider = provider_of(on)
    if not isinstance(provider, Qemu):
        raise UsageError(f"'{on}' has no queue of machines", hint=f"see {page('providers')}")
    return place_of(provider.on)
