"""Keys of a job that this house does without: some are refused with the reason, some told to count for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vmtasks.config.toml_words import described
from vmtasks.errors import UsageError, did_you_mean


def accepted(
    table: Mapping[str, Any],
    where: str,
    *,
    refused: Mapping[str, str] = {},
    noted: Mapping[str, str] = {},
    silent: Iterable[str] = (),
    notes: list[str] | None = None,
) -> dict[str, Any]:
    """Return a table without the keys that count for nothing.

    :param where: what messages begin with: the file and the key path.
    :param refused: keys that cannot be done, and why.
    :param noted: keys that are left out, and why; *notes* gets a sentence for each.
    :param silent: keys that are left out, and that nobody misses.
    :raise UsageError: a key cannot be done.
    """
    for key, reason in refused.items():
        if key in table:
            raise UsageError(f"{where}: key '{key}' is LAVA's, and not supported: {reason}")
    for key, reason in noted.items():
        if key in table and notes is not None:
            notes.append(f"{where}: key '{key}' counts for nothing here: {reason}")
    return {key: value for key, value in table.items() if key not in noted and key not in set(silent)}


def mapping_at(table: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """Return the mapping that a key has; an empty one if it is not there.

    :raise UsageError: it is something else.
    """
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise UsageError(f"{where}: key '{key}' must be a mapping, not {described(value)}")
    return value


def list_at(table: Mapping[str, Any], key: str, where: str) -> list[Any]:
    """Return the list that a key has; an empty one if it is not there.

    :raise UsageError: it is something else.
    """
    value = table.get(key, [])
    if not isinstance(value, list):
        raise UsageError(f"{where}: key '{key}' must be a list, not {described(value)}")
    return value


def one_of(table: object, where: str, known: Mapping[str, Any], refused: Mapping[str, str] = {}) -> str:
    """Return the one key of a mapping with one key, as an action is.

    :raise UsageError: it has none or several, or one that is not known.
    """
    if not isinstance(table, dict) or len(table) != 1:
        raise UsageError(f"{where} must be a mapping with one key: {', '.join(known)}")
    (key,) = table
    expect_known(key, where, known, refused, what="action")
    return str(key)


def expect_known(word: object, where: str, known: Iterable[str], refused: Mapping[str, str] = {}, *, what: str) -> None:
    """Do nothing if a word is known.

    :raise UsageError: it is not, or cannot be done.
    """
    if not isinstance(word, str):
        raise UsageError(f"{where}: a {what} must be a text, not {described(word)}")
    if word in refused:
        raise UsageError(f"{where}: {what} '{word}' is LAVA's, and not supported: {refused[word]}")
    if word not in (names := tuple(known)):
        more = did_you_mean(word, names, otherwise="known are " + ", ".join(f"'{one}'" for one in names))
        raise UsageError(f"{where}: unknown {what} '{word}'; {more}")
