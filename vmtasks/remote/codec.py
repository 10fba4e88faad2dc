"""What goes between two hosts as JSON: the few kinds of data that are asked for there, and no program."""

from __future__ import annotations

import base64
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from vmtasks.cache.entry import CacheEntry
from vmtasks.cache.snapshot import Snapshot
from vmtasks.config.settings import HostSettings
from vmtasks.host.accelerator import Choice
from vmtasks.host.availability import Availability, Rules
from vmtasks.host.lease import Lease
from vmtasks.host.local import LOCAL_HOST, Host
from vmtasks.host.occupancy import Demand, Occupancy
from vmtasks.host.slots import Limits, Ticket
from vmtasks.image.baked import BakedImage
from vmtasks.process.landlock import Reach
from vmtasks.spec import DirectKernel, GroupCard, Machine, Ram

_KINDS = {
    kind.__name__: kind
    for kind in (
        Availability,
        BakedImage,
        Choice,
        Demand,
        DirectKernel,
        GroupCard,
        Snapshot,
        HostSettings,
        Lease,
        Limits,
        Machine,
        Occupancy,
        Ram,
        Reach,
        Rules,
        Ticket,
    )
}


def encode(data: object) -> object:  # noqa: PLR0911 - one for each kind
    """Return *data* as JSON has it.

    :raise TypeError: it is of no kind that travels.
    """
    match data:
        case None | bool() | int() | float() | str():
            return data
        case Path():
            return {"path": str(data)}
        case bytes():
            return {"bytes": base64.b64encode(data).decode()}
        case _ if type(data).__name__ in _KINDS:
            return {"kind": type(data).__name__, "fields": {name: encode(field) for name, field in _fields(data)}}
        case list():
            return [encode(one) for one in data]
        case tuple():
            return {"tuple": [encode(one) for one in data]}
        case dict():
            return {"dict": {str(key): encode(field) for key, field in data.items()}}
    raise TypeError(f"{type(data).__name__} is of no kind that travels between hosts")


def decode(data: Any, place: Host = LOCAL_HOST) -> Any:  # noqa: ANN401, PLR0911 - whatever was packed
    """Return what *data* was packed from; *place* is the host that the cache entries in it are on.

    :raise ValueError: it was not packed by us.
    """
    match data:
        case None | bool() | int() | float() | str():
            return data
        case list():
            return [decode(one, place) for one in data]
        case {"path": str(path)}:
            return Path(path)
        case {"bytes": str(text)}:
            return base64.b64decode(text)
        case {"tuple": list(items)}:
            return tuple(decode(one, place) for one in items)
        case {"dict": dict(table)}:
            return {key: decode(field, place) for key, field in table.items()}
        case {"kind": str(name), "fields": dict(table)} if name in _KINDS:
            kind: Any = _KINDS[name]
            decoded = kind(**{key: decode(field, place) for key, field in table.items()})
            return replace(decoded, place=place) if isinstance(decoded, CacheEntry) else decoded
    raise ValueError(f"nobody of ours says {str(data)[:80]!r}")


def _fields(data: Any) -> list[tuple[str, object]]:  # noqa: ANN401 - one of _KINDS
    if is_dataclass(data):
        # Which host a cache entry is on, the program that reads it knows.
        return [(one.name, getattr(data, one.name)) for one in fields(data) if one.name != "place"]
    return [*data._asdict().items()]
