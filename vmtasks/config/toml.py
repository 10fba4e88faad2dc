"""Read a TOML table into a frozen dataclass, and report in one sentence what is wrong with it.

The dataclass is the schema: its annotations are the types and its defaults make keys optional. Supported are
``str``, ``int``, ``float``, ``bool``, ``Path``, ``Literal`` of texts, ``tuple[X, ...]`` of these, a nested dataclass
(a table), ``tuple[Dataclass, ...]`` (an array of tables), ``dict[str, X]`` of texts or dataclasses, and ``X | None``
for any of them (TOML has no null: None can only be a default).

A key is a field's name, where ``-`` may stand for ``_``; a trailing underscore makes a field of a Python keyword
(``from_`` reads ``from``). A field's metadata has the rest::

    says      what the value means, for messages: "memory in MiB"
    at_least  the smallest number that makes sense
    env       the environment variable that overrides it, see :func:`override`
    key       the key, where it differs from the name; None: the file cannot set the field
"""

from __future__ import annotations

import functools
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vmtasks import events
from vmtasks.config.bounded import read_file
from vmtasks.config.dotted_keys import DEEPEST, are_too_deep
from vmtasks.config.toml_words import described, kind_in_words
from vmtasks.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_WIDER: Mapping[object, Callable[[Any], object]] = {(Path, str): Path, (float, int): float}
"""What a field of one kind makes of a value that TOML has as another."""
_SWITCHES = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def load(cls: type[T], path: Path, *, over: T | None = None, within: Path | None = None) -> T:
    """Read the file *path* into a *cls*.

    :param within: the directory that the file must be in, wherever links lead.
    :param over: where the keys that the file does not have come from, instead of the defaults.
    :raise UsageError: the file cannot be read, or does not hold what a *cls* needs.
    """
    return parse(cls, read(path, within=within), where=str(path), over=over)


def read(path: Path, *, within: Path | None = None) -> dict[str, Any]:
    """Read the file *path* as plain TOML.

    :param within: the directory that the file must be in, wherever links lead.
    :raise UsageError: the file cannot be read, is not UTF-8, or is not TOML.
    """
    data = read_file(path, within=within)
    if data is None:
        raise UsageError(f"cannot read {path}: No such file or directory")
    try:
        text = data.decode()
        if are_too_deep(text):
            raise UsageError(f"cannot read {path}: a key of it has more than {DEEPEST} parts")
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"cannot read {path}: line {line} is not UTF-8 text") from error
    except ValueError as error:  # TOMLDecodeError, which tells line and column; or a number beyond all measure
        raise UsageError(f"cannot read {path}: it is not valid TOML: {error}") from error
    except RecursionError:
        raise UsageError(f"cannot read {path}: its lists or tables are nested too deep") from None


def parse(cls: type[T], table: Mapping[str, Any], *, where: str, over: T | None = None) -> T:
    """Make a *cls* of a TOML table.

    :param where: what messages begin with: the file's name.
    :param over: where the keys that *table* does not have come from, instead of the defaults.
    :raise UsageError: a key is unknown, missing, or has a value of the wrong kind.
    """
    return _parse(cls, table, _Place(where), over)


def override(settings: T, environ: Mapping[str, str]) -> T:
    """Return *settings* with what the environment sets over it; an empty variable sets nothing.

    Lists are split as a shell does it.

    :raise UsageError: a variable's value is of the wrong kind.
    """
    changes: dict[str, Any] = {}
    for name, wanted in _schema(type(settings)).items():
        present = getattr(settings, name)
        if is_dataclass(present) and not isinstance(present, type):
            changes[name] = override(present, environ)
        elif found := wanted.found_in(environ):
            variable, text = found
            subject = f"environment variable {variable}"
            changes[name] = _checked(wanted, _from_text(wanted.kind, text), _Place(subject), subject)
    return replace(settings, **changes)


@dataclass(frozen=True, slots=True)
class _Place:
    """A table in a file, as a message names it."""

    where: str
    path: str = ""
    number: int = 0
    """Which one of an array of tables, counted from 1."""

    def inside(self, key: str) -> _Place:
        return _Place(self.where, f"{self.path}.{key}" if self.path else key)

    def __str__(self) -> str:
        if self.number:
            return f" in [[{self.path}]] number {self.number}"
        return f" in [{self.path}]" if self.path else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What a field takes; as a text: ``a whole number of at least 1 (memory in MiB)``."""

    kind: object
    key: str | None
    variable: str
    says: str
    at_least: float | None
    is_required: bool
    was: str
    """The key of before 0.2."""
    variable_was: str

    @classmethod
    def by(cls, field: Field[Any], hint: object) -> _Wanted:
        metadata = field.metadata
        return cls(
            kind=_without_none(hint),
            key=metadata.get("key", field.name.rstrip("_")),
            variable=metadata.get("env", ""),
            says=metadata.get("says", ""),
            at_least=metadata.get("at_least"),
            is_required=field.default is MISSING and field.default_factory is MISSING,
            was=metadata.get("was", ""),
            variable_was=metadata.get("env_was", ""),
        )

    def found_in(self, environ: Mapping[str, str]) -> tuple[str, str] | None:
        """Return the variable that sets the field, and its text; None where none does."""
        for variable in filter(None, (self.variable, self.variable_was)):
            if text := environ.get(variable):
                if variable == self.variable_was:
                    events.renamed(variable, self.variable)
                return variable, text
        return None

    def __str__(self) -> str:
        bound = "" if self.at_least is None else f" of at least {self.at_least}"
        return kind_in_words(self.kind) + bound + (f" ({self.says})" if self.says else "")


class _MismatchError(Exception):
    """A value is of another kind than its field; the message describes the value."""


@functools.cache
def _schema(cls: type[DataclassInstance]) -> Mapping[str, _Wanted]:
    """Return what each field of *cls* takes, by the field's name."""
    hints = get_type_hints(cls)
    return {field.name: _Wanted.by(field, hints[field.name]) for field in fields(cls)}


def _parse(cls: type[T], table: Mapping[str, Any], place: _Place, over: T | None) -> T:
    schema = _schema(cls)
    names = {wanted.key: name for name, wanted in schema.items() if wanted.key is not None}
    values: dict[str, Any] = {}
    was = {wanted.was: name for name, wanted in schema.items() if wanted.was}
    for key, value in table.items():
        name = names.get(key.replace("-", "_")) or was.get(key.replace("-", "_"))
        if name is None:
            raise UsageError(f"{place.where}: unknown key '{key}'{place}; {_nearest(key, tuple(names))}")
        if name in values:
            raise UsageError(f"{place.where}: key '{key}'{place} is given twice, by two of its names")
        if name in was.values() and key.replace("-", "_") in was:
            events.renamed(f"{place.where}: {key}", str(schema[name].key))
        subject = f"{place.where}: key '{key}'{place}"
        values[name] = _checked(schema[name], value, place.inside(key), subject, getattr(over, name, None))
    if over is not None:
        return replace(over, **values)
    for key, name in names.items():
        if schema[name].is_required and name not in values:
            raise UsageError(f"{place.where}: key '{key}'{place} is missing; it must be {schema[name]}")
    return cls(**values)


def _nearest(key: str, known: tuple[str, ...]) -> str:
    known_are = "known are " + ", ".join(f"'{name}'" for name in known)
    return did_you_mean(key.replace("-", "_"), known, otherwise=known_are)


def _checked(wanted: _Wanted, value: object, place: _Place, subject: str, beneath: object = None) -> object:
    """Return *value* as the field has it, or raise an error with what *subject* must be instead."""
    try:
        converted = _convert(wanted.kind, value, place, beneath)
    except _MismatchError as mismatch:
        raise UsageError(f"{subject} must be {wanted}, not {mismatch}") from None
    except OverflowError:  # a whole number that no float can hold
        raise UsageError(f"{subject} must be {wanted}, and no number so large") from None
    # "not at least" instead of "less": NaN is neither.
    if wanted.at_least is not None and isinstance(converted, int | float) and not converted >= wanted.at_least:
        raise UsageError(f"{subject} must be {wanted}, not {described(value)}")
    return converted


def _convert(kind: object, value: object, place: _Place, beneath: object = None) -> object:
    """Turn a value as TOML has it into one of *kind*.

    :param beneath: for a table: the dataclass whose values stand where the table has none.
    :raise _MismatchError: it is no such value.
    """
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        return _parse(kind, value, place, beneath if isinstance(beneath, kind) else None)
    if get_origin(kind) is tuple and isinstance(value, list):
        return _convert_list(get_args(kind)[0], value, place)
    if get_origin(kind) is dict and isinstance(value, dict):
        return _convert_table(get_args(kind)[1], value, place, beneath if isinstance(beneath, dict) else {})
    if get_origin(kind) is Literal and isinstance(value, str) and value in get_args(kind):
        return value
    if widen := _WIDER.get((kind, type(value))):
        return widen(value)
    if type(value) is kind:  # and not isinstance: to TOML, true is no number
        return value
    raise _MismatchError(described(value))


def _convert_list(kind: object, items: list[object], place: _Place) -> tuple[object, ...]:
    try:
        return tuple(_convert(kind, item, replace(place, number=number)) for number, item in enumerate(items, 1))
    except _MismatchError as mismatch:
        raise _MismatchError(f"a list that holds {mismatch}") from None


def _convert_table(
    kind: object, table: dict[str, object], place: _Place, beneath: dict[str, object]
) -> dict[str, object]:
    kept = beneath if is_dataclass(kind) else {}  # texts take the place of all others, and tables lie over each other
    try:
        return {
            **kept,
            **{name: _convert(kind, item, place.inside(name), kept.get(name)) for name, item in table.items()},
        }
    except _MismatchError as mismatch:
        raise _MismatchError(f"a table that holds {mismatch}") from None


def _without_none(kind: object) -> object:
    """Return the X of ``X | None``, and any other type as it is."""
    if get_origin(kind) not in {Union, UnionType}:
        return kind
    (only,) = (choice for choice in get_args(kind) if choice is not NoneType)
    return only


def _from_text(kind: object, text: str) -> object:
    """Read a variable's text as TOML would have it; what cannot be read stays text, and is refused as text."""
    try:
        if kind is bool:
            return _SWITCHES.get(text.lower(), text)
        if kind is int:
            return int(text)
        if kind is float:
            return float(text)
        if get_origin(kind) is tuple:
            return shlex.split(text)
    except ValueError:
        return text
    return text
