"""Settings, one by one, with what each of them comes from: a variable, a file, a guess, or the default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from vmtasks.config.toml import _schema

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DEFAULT = "default"
GUESS = "guess"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting that holds."""

    key: str
    """As vmtasks.toml has it, with its tables: ``images.build``."""
    value: object
    origin: str
    """The name of a variable or a file, :data:`GUESS` or :data:`DEFAULT`."""


def origins(
    settings: DataclassInstance, files: Sequence[tuple[str, Mapping[str, Any]]], environ: Mapping[str, str]
) -> Iterator[Setting]:
    """Yield each of *settings* that a file or a variable can set.

    :param files: the name and the content of each file that was read, the one that counts most first.
    """
    defaults = {field.name: _default(field) for field in fields(settings)}
    for name, wanted in _schema(type(settings)).items():
        value = getattr(settings, name)
        if wanted.key is None:
            continue
        if is_dataclass(value) and not isinstance(value, type):
            inside = [(file, table) for file, content in files if isinstance(table := content.get(wanted.key), dict)]
            for one in origins(value, inside, environ):
                yield replace(one, key=f"{wanted.key}.{one.key}")
            continue
        if isinstance(value, dict) and any(map(is_dataclass, value.values())):
            for key, item in value.items():
                inside = [(file, content.get(wanted.key, {}).get(key, {})) for file, content in files]
                for one in origins(item, inside, environ):
                    yield replace(one, key=f"{wanted.key}.{key}.{one.key}")
            continue
        found = wanted.found_in(environ)
        files_with_it = [
            file for file, content in files if {wanted.key, wanted.was} & {_normal(key) for key in content}
        ]
        guessed = GUESS if value != defaults[name] else DEFAULT
        yield Setting(key=wanted.key, value=value, origin=found[0] if found else next(iter(files_with_it), guessed))


def _default(field: Any) -> object:  # noqa: ANN401 - Field has a parameter that does not matter
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _normal(key: str) -> str:
    return key.replace("-", "_")
