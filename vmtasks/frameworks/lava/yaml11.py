"""YAML 1.1, as LAVA reads it: in it ``no`` is false and ``10:30`` is 630, and definitions count on that."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from vmtasks.config.bounded import read_file
from vmtasks.errors import UsageError

MOST_VALUES = 100_000
"""So many values may a document have, those of an alias counted each time that it is used: a few lines can make more
than any memory holds.
"""
_MOST_BITS = 1024
"""Python does not write down numbers of any length, and nothing here is about such numbers."""
_COLLECTIONS = (dict, list, tuple, set)
"""Tuples are what the items of ``!!pairs`` and ``!!omap`` are."""


class _Loader(yaml.SafeLoader):
    """A safe loader that does not let the second of two equal keys win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        seen: set[Hashable] = set()
        for name, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = self.construct_object(name, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.MarkedYAMLError(problem="a list or a mapping cannot be a key", problem_mark=name.start_mark)
            if key in seen and name.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem=f"key '{key}' is given twice", problem_mark=name.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read(path: Path) -> dict[str, Any]:
    """Read a file of one YAML document, a mapping.

    :raise UsageError: it cannot be read, is not YAML, or holds something else.
    """
    data = read_file(path)
    if data is None:
        raise UsageError(f"cannot read {path}: No such file or directory")
    return parse(data, where=str(path))


def parse(data: bytes, *, where: str) -> dict[str, Any]:
    """Do what :func:`read` does with text that is there already.

    :param where: what messages begin with: the file's name.
    :raise UsageError: it is not YAML, or no mapping.
    """
    try:
        value = yaml.load(data, Loader=_Loader)  # noqa: S506 - it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise UsageError(f"cannot read {where}: {line}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {where}: it is not valid YAML: {str(error).splitlines()[0]}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:  # PyYAML believes what a tag says
        raise UsageError(f"cannot read {where}: it is not valid YAML: a value is not what its tag says") from error
    if not isinstance(value, dict):
        raise UsageError(f"cannot read {where}: it is no mapping of keys to values")
    _count(value, where)
    return value


def _count(value: object, where: str, so_far: int = 0, around: frozenset[int] = frozenset()) -> int:
    """Count the values of a document, as often as they are used.

    :raise UsageError: there are more than :data:`MOST_VALUES`, or there is no end of them, or of a number.
    """
    if so_far > MOST_VALUES:
        raise UsageError(f"cannot read {where}: it has more than {MOST_VALUES} values, with those of its aliases")
    if isinstance(value, _COLLECTIONS):
        if id(value) in around:
            raise UsageError(f"cannot read {where}: one of its collections contains itself")
        inside = around | {id(value)}
        if isinstance(value, dict):
            for key in value:
                _count(key, where)
        for item in value.values() if isinstance(value, dict) else value:
            so_far = _count(item, where, so_far, inside)
    elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise UsageError(f"cannot read {where}: it has a number of more than {_MOST_BITS} bits")
    return so_far + 1


def as_text(value: object) -> str:
    """Return a value as LAVA hands it to a shell: Python's word for it, and nothing for null."""
    return "" if value is None else str(value)


def without_nulls(value: Any, *, around: frozenset[int] = frozenset()) -> Any:  # noqa: ANN401
    """Leave out what is null, as if it were not there, and make texts of keys, and lists of tuples.

    :param around: the collections that we are in: an alias can make one contain itself.
    :raise UsageError: one does.
    """
    if isinstance(value, _COLLECTIONS) and id(value) in around:
        raise UsageError("cannot read the definition: one of its collections contains itself")
    inside = around | {id(value)}
    if isinstance(value, dict):
        return {as_text(key): without_nulls(item, around=inside) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item, around=inside) for item in value if item is not None]
    return value
