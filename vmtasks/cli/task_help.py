"""What ``vmtasks help TASK`` shows: what the task does, its own options, and then those of every recipe."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from invoke.parser.context import ParserContext
from invoke.tasks import Task

VALUES: Mapping[str, str] = MappingProxyType(
    {
        "accel": "auto|kvm|tcg",
        "attempts": "NUMBER",
        "ci": "github|gitlab|salsa|buildbot",
        "cpus": "NUMBER",
        "image": "NAME",
        "keep-for-s": "SECONDS",
        "memory-mib": "MIB",
        "network": "user|restricted|none",
        "on": "PLACE",
        "out": "DIR",
        "put": "DIR",
        "runner": "shell|avocado|bats|pytest",
        "source": "DIR",
    }
)
"""Option -> what it takes, where STRING would not tell."""
_OLD = ("keep-s",)
"""Options that are understood, and have another name now."""

Groups = list[tuple[str, list[tuple[str, str]]]]


def option_groups(task: Task[Any], context: ParserContext) -> Groups:
    """Return the groups of a task's options, each with its title, and with a line and its help for each option."""
    from vmtasks.run.task import Recipe, common_options

    common = common_options() if isinstance(task, Recipe) else frozenset()
    own: list[tuple[str, str]] = []
    shared: list[tuple[str, str]] = []
    for line, text in context.help_tuples():
        name = name_of(line)
        if name not in _OLD:
            (shared if name.replace("-", "_") in common else own).append((with_value(line), text or ""))
    return [(title, lines) for title, lines in (("Options", own), ("Options of every recipe", shared)) if lines]


def head(task: Task[Any], name: str, context: ParserContext) -> Iterator[str]:
    """Yield the lines before the options."""
    words = ["vmtasks", name, *(str(one.name).upper() for one in context.positional_args)]
    yield f"Usage: {' '.join(words)}{' [--option=VALUE …]' if context.flags else ''}"
    yield ""
    for line in (inspect.getdoc(task) or "").splitlines():
        yield f"  {line}".rstrip()
    yield ""


def with_value(line: str) -> str:
    """Return an option as Invoke shows it, with what it takes instead of STRING."""
    flag, separator, _ = line.partition("=")
    return f"{flag}={VALUES.get(name_of(line), 'TEXT')}" if separator else line


def name_of(line: str) -> str:
    """Return the name of an option, as Invoke shows it, without its dashes."""
    return line.partition("=")[0].removeprefix("--")
