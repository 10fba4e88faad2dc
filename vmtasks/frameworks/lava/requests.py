"""Requests of an action: what it sends, or waits for, before it begins (``protocols`` in LAVA's second version)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmtasks.errors import UsageError
from vmtasks.frameworks.lava import yaml11
from vmtasks.frameworks.lava.durations import seconds_at
from vmtasks.frameworks.lava.group_job import CallStep
from vmtasks.frameworks.lava.keys import expect_known, list_at, mapping_at
from vmtasks.group.coordinator import is_id
from vmtasks.group.wire import VERBS

_PROTOCOL = "lava-multinode"


def requests(table: Mapping[str, Any], where: str) -> list[CallStep]:
    """Read the protocols of an action.

    :param where: the file and the action, for messages.
    :raise UsageError: one cannot be done.
    """
    where = f"{where}.protocols"
    for key in table:
        expect_known(key, where, (_PROTOCOL,), what="protocol")
    given = table.get(_PROTOCOL)
    items = [given] if isinstance(given, dict) else list_at(table, _PROTOCOL, where)
    return [_request(one, f"{where}.{_PROTOCOL}[{number}]") for number, one in enumerate(items)]


def _request(table: object, where: str) -> CallStep:
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a mapping with request and messageID")
    for key in table:
        expect_known(key, where, ("action", "request", "messageID", "message", "timeout"), what="key")
    expect_known(table.get("request", ""), f"{where}: key 'request'", VERBS, what="request")
    verb = VERBS[table["request"]]
    pairs = {name: yaml11.as_text(value) for name, value in mapping_at(table, "message", where).items()}
    if pairs and (verb != "send" or any(value.startswith("$") for value in pairs.values())):
        raise UsageError(
            f"{where}: key 'message' puts what one action has learnt into another, which is for devices of a lab; "
            "have tests send and read it"
        )
    name = yaml11.as_text(table.get("messageID"))
    if not is_id(name):
        raise UsageError(f"{where}: key 'messageID' must be one word without an equals sign, not '{name}'")
    return CallStep(
        verb=verb,
        id=name,
        pairs=pairs,
        timeout_s=seconds_at(table, "timeout", where),
    )
