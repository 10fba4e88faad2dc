"""What a field takes, and what a file has instead, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

NOUNS: Mapping[object, str] = {str: "text", int: "whole number", float: "number", Path: "path"}
SHOWN = 60
"""So many characters of a text are shown in a message."""


def kind_in_words(kind: object) -> str:
    """Say what a field of that kind takes."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(json.dumps(word) for word in get_args(kind))
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return f"a list of {NOUNS[item]}s" if item in NOUNS else "an array of tables"
    if get_origin(kind) is dict:
        return "a table of texts" if get_args(kind)[1] is str else "a table of tables"
    if kind is bool:
        return "true or false"
    return f"a {NOUNS[kind]}" if kind in NOUNS else "a table"


def described(value: object) -> str:
    """Describe a value as its author would see it."""
    match value:
        case bool():
            return json.dumps(value)
        case int() | float():
            return f"the number {value}"
        case str():
            shown = value if len(value) <= SHOWN else value[:SHOWN] + "…"
            return f"the text {json.dumps(shown, ensure_ascii=False)}"
        case list():
            return "a list"
        case dict():
            return "a table"
    return f"the date or time {value}"
