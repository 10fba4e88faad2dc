"""A file that holds a job of LAVA's: which of its two forms it is, and the job in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vmtasks.config.bounded import read_file
from vmtasks.errors import UsageError
from vmtasks.files import typed_json
from vmtasks.frameworks.lava import job_v1, job_v2, yaml11
from vmtasks.frameworks.lava.group_job import LavaGroupJob
from vmtasks.frameworks.lava.mapping import LavaMapping


def load_job(path: Path, mapping: Path | None = None) -> LavaGroupJob:
    """Read a job.

    :param mapping: the file that says what stands here for what the job names; see ``lava/mapping``.
    :raise UsageError: it cannot be read, is none, or cannot be done here.
    """
    data = read_file(path)
    if data is None:
        raise UsageError(f"cannot read {path}: No such file or directory")
    is_json = path.suffix.lower() == ".json" or data.lstrip().startswith(b"{")
    try:
        document = yaml11.without_nulls(_json(data, path) if is_json else yaml11.parse(data, where=str(path)))
        _expect_text(document, path)
    except RecursionError:
        raise UsageError(f"cannot read {path}: its lists or mappings are nested too deep") from None
    translate: Callable[..., LavaGroupJob] = job_v1.job_of if _is_first_version(document) else job_v2.job_of
    stands_for = LavaMapping.load(mapping, job=path)
    try:
        return replace(translate(document, stands_for, path=path), mapping=stands_for)
    except UsageError as problem:
        text = " ".join(str(problem).split())  # the words of the job that it quotes may have lines
        is_named = text.startswith((f"{path}:", "cannot read"))
        raise UsageError(text if is_named else f"{path}: {text}", hint=problem.hint) from problem


def _is_first_version(document: dict[str, Any]) -> bool:
    """Tell whether actions are named by their ``command``, which the second version has for something else."""
    actions = document.get("actions")
    commands = [one.get("command") for one in actions if isinstance(one, dict)] if isinstance(actions, list) else []
    return "vm_group" in document or any(isinstance(command, str) for command in commands)


def _expect_text(document: dict[str, Any], path: Path) -> None:
    """Do nothing if all texts of a document can be written down, and be arguments of programs.

    :raise UsageError: they cannot.
    """
    if any("\0" in text or not typed_json.fits(text, str) for text in _texts(document)):
        raise UsageError(f"cannot read {path}: it has a NUL, or half a character")


def _texts(value: object) -> Iterator[str]:
    """Yield all texts in a document, keys and values."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _json(data: bytes, path: Path) -> dict[str, Any]:
    """Return the object that a JSON text holds.

    :raise UsageError: it is not JSON, or holds something else.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"cannot read {path}: key '{twice}' is given twice")
        if found.get("role", "") is None:  # which elsewhere is as good as not there
            raise UsageError(f"cannot read {path}: key 'role' is null; an action without the key is for all roles")
        return found

    try:
        value = json.loads(data, object_pairs_hook=unique)
    except ValueError as error:
        raise UsageError(f"cannot read {path}: it is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"cannot read {path}: it is no object with keys")
    return value
