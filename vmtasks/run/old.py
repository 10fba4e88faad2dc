"""Old results: those beyond the settings' bounds go when a new run begins."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmtasks.config.settings import HostSettings
from vmtasks.errors import Outcome
from vmtasks.report.files.read import run_at

_RUN = re.compile(r"(.+)-[0-9]{8}-[0-9]{6}-[0-9]+(?:\.[0-9]+)?")
_DAY_S = 86400.0
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Past:
    path: Path
    age_s: float
    size_bytes: int


def remove_old(home: Path, settings: HostSettings) -> list[Path]:
    """Remove the oldest runs below *home* that are too old, too many or too large together, and return them.

    What never goes: the last run that passed, of each recipe and project, and a run that may not have ended yet.
    """
    past = sorted(_past(home), key=lambda one: one.age_s)
    sizes = (sum(one.size_bytes for one in past[: number + 1]) for number in range(len(past)))
    beyond = [
        one
        for number, (one, sum_bytes) in enumerate(zip(past, sizes, strict=True))
        if (settings.results_days and one.age_s > settings.results_days * _DAY_S)
        or (settings.results_runs and number >= settings.results_runs)
        or (settings.results_mib and sum_bytes > settings.results_mib * _MIB)
    ]
    if not beyond:
        return []
    kept = set(_last_passed(past))
    gone = [one.path for one in beyond if one.path not in kept and not _may_run(one)]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)  # another run may be at it as well, or it is another user's
    return gone


def _past(home: Path) -> Iterator[_Past]:
    for path in home.glob("*/result.json") if home.is_dir() else ():
        directory = path.parent
        if directory.is_symlink() or not _RUN.fullmatch(directory.name):
            continue
        with suppress(FileNotFoundError):  # another run removes it
            age_s = time.time() - path.stat().st_mtime
            yield _Past(path=directory, age_s=age_s, size_bytes=_size_bytes(directory))


def _size_bytes(directory: Path) -> int:
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(root) / name).lstat().st_blocks * 512
    return total


def _last_passed(past: list[_Past]) -> Iterator[Path]:
    """Yield the last run that passed of each recipe and source; *past* has the newest first."""
    seen = set()
    for one in past:
        result = _result(one.path)
        recipe = result.get("recipe")
        kind = (recipe, _source(str(result.get("rerun", "")), str(recipe)))
        if result.get("outcome") == Outcome.PASSED and kind not in seen:
            seen.add(kind)
            yield one.path


def _may_run(one: _Past) -> bool:
    """Whether a run has not ended, as far as it was written down, and was heard of within a day."""
    return _result(one.path).get("ended") is None and one.age_s < _DAY_S


def _source(rerun: str, recipe: str) -> str:
    """Return what a command line has as ``--source``, or right behind the recipe's name; nothing if it has none."""
    try:
        words = shlex.split(rerun)
    except ValueError:
        return ""
    given = [word.partition("=")[2] for word in words if word.startswith("--source=")]
    if "--source" in words[:-1]:
        given.append(words[words.index("--source") + 1])
    if recipe in words[:-1] and not (behind := words[words.index(recipe) + 1]).startswith("-"):
        given.append(behind)
    return next(iter(given), "")


def _result(directory: Path) -> dict[str, Any]:
    """Return a run as it was written down; nothing where that is no run: a machine may bring any file home."""
    return run_at(directory / "result.json") or {}
