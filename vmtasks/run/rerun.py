"""The command line that repeats a run, or those runs of a matrix that did not pass."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from vmtasks.config.here import PACKAGE, is_checkout
from vmtasks.errors import Outcome, UsageError
from vmtasks.run.matrix import Combination, combinations
from vmtasks.run.options import PAIRS

_AXES = ("image", "on")
_LOADING = ("--config", "--collection", "--search-root")
_LOADING_SHORT = frozenset("fcr")
"""Options of Invoke's that have it run a file of Python before any task, and what they are in a block such as -ef."""
_SEARCH_ROOT = "-r"
"""The one that vmtasks.mk uses, for the checkout that it belongs to."""


def words_of(run: Mapping[str, Any]) -> list[str]:
    """Return the command line of a run, as it was written down, in words.

    Only this program is ever called so, whatever the first word is, and with no code but what it has loaded now.

    :raise UsageError: it is none, one of another program, or one that has more code loaded: the file may be anybody's.
    """
    line = run.get("rerun", "")
    try:
        words = shlex.split(line)
    except ValueError:
        words = []
    if not words or not _is_this_program(words[0]):
        raise UsageError(
            f"cannot repeat the last run: what is written down as its command line is none of this program's: {line!r}",
            hint="call `rerun` from where the run was called, and with the same program",
        )
    if word := _loading(words[1:]):
        raise UsageError(
            f"cannot repeat the last run: {word!r} in its command line may have Python load code, and that line may be "
            f"anybody's: {line!r}",
            hint="if the line is yours, call it yourself",
        )
    return words


def _loading(words: Sequence[str]) -> str:
    """Return the word of a command line that has Invoke load code; nothing if none does.

    Invoke takes such an option wherever it stands. What is an option's value there only a task knows, so that a value
    that looks like one counts as well.
    """
    if len(words) > 1 and words[0] == _SEARCH_ROOT and _is_loaded(words[1]):
        words = words[2:]
    end = words.index("--") if "--" in words else len(words)
    return next(filter(_loads, words[:end]), "")


def _loads(word: str) -> bool:
    if word.startswith("--"):
        return word.partition("=")[0] in _LOADING
    return word.startswith("-") and not _LOADING_SHORT.isdisjoint(word)


def _is_loaded(directory: str) -> bool:
    """Tell whether this very call has its tasks from a directory: the checkout, or what it was told to search."""
    roots = [PACKAGE.parent] if is_checkout() else []
    if sys.argv[1:2] == [_SEARCH_ROOT]:
        roots += map(Path, sys.argv[2:3])
    try:
        return any(Path(directory).samefile(root) for root in roots)
    except (OSError, ValueError):
        return False


def _is_this_program(word: str) -> bool:
    """Tell whether the first word of a command line means this program: its name, or the way to its file."""
    if os.sep not in word:
        return word == PurePath(sys.argv[0]).name
    try:
        return Path(word).samefile(sys.argv[0])
    except (OSError, ValueError):
        return False


def words_of_failed(run: Mapping[str, Any]) -> list[str]:
    """Return the command line of a matrix with those images and hosts alone whose runs did not pass.

    Where some combinations of these passed, they are repeated as well: a command line has no other way to say it.

    :raise UsageError: the run is no matrix, or all of it passed.
    """
    words = words_of(run)
    if not run.get("runs"):
        raise UsageError(
            f"cannot repeat only what failed: {run['recipe']} has no option that names test cases",
            hint="--failed is for suites, and runs with several images or hosts (--image bookworm,trixie); `rerun` "
            "repeats all",
        )
    failed = {row["combination"] for row in run["runs"] if row["outcome"] != Outcome.PASSED}
    if not failed:
        raise UsageError("there is nothing to repeat: all runs passed")
    given = {axis: value for axis in _AXES if (value := value_of(words, axis)) is not None}
    asked = {**given, PAIRS.name: f"--{PAIRS.name}" in words}
    rest = [one for one in combinations(asked) if one.name in failed]
    if not rest:
        raise UsageError("cannot tell which runs failed: the line that is written down names others")
    for axis in _AXES:
        if names := _names(rest, axis):
            words = with_value(words, axis, ",".join(names))
    return words


def _names(those: Sequence[Combination], axis: str) -> list[str]:
    """Return the images, or the hosts, of some runs; none where all have the same, which no run names."""
    return list(dict.fromkeys(name for one in those if (name := getattr(one, axis)) is not None))


def value_of(words: Sequence[str], name: str) -> str | None:
    """Return what a command line gives for an option, None if nothing; the last one counts, as with Invoke."""
    found = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == f"--{name}":
            found = following
        elif word.startswith(f"--{name}="):
            found = word.partition("=")[2]
    return found


def with_value(words: Sequence[str], name: str, value: str) -> list[str]:
    """Return a command line that gives another value for an option, or gives one at all."""
    changed = list(words)
    for at, word in enumerate(words):
        if word == f"--{name}":
            changed[at + 1] = value
        elif word.startswith(f"--{name}="):
            changed[at] = f"--{name}={value}"
    return changed if value_of(words, name) is not None else [*changed, f"--{name}={value}"]
