"""A task's word that may be left out: Invoke knows none such."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from invoke.tasks import Task

if TYPE_CHECKING:
    from invoke.parser.argument import Argument


class WordMayBeMissing(Task[Any]):
    """A task whose one positional argument may be left out: it is empty then."""

    def get_arguments(self, *options: Any, **more: Any) -> list[Argument]:  # noqa: ANN401 - Invoke's own
        """Return the arguments; the positional one is none where the command line has no word for it."""
        arguments: list[Argument] = super().get_arguments(*options, **more)
        flags = {_flag(name): one.takes_value for one in arguments if not one.positional for name in one.names}
        if _has_no_word(self.name.replace("_", "-"), flags, sys.argv):
            for argument in arguments:
                if argument.positional:
                    argument.positional, argument.default = False, ""
        return arguments


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}" if len(name) > 1 else f"-{name}"


def _has_no_word(name: str, flags: Mapping[str, bool], argv: Sequence[str]) -> bool:
    """Tell whether a command line calls a task, and has nothing but options and their values behind its name.

    :param name: the task's own; on the command line that of a collection may be before it.
    :param flags: the task's options, and whether they take a value.
    """
    called = next((place for place, word in enumerate(argv) if place and word.rpartition(".")[2] == name), None)
    if called is None:
        return False
    is_value = False
    for word in argv[called + 1 :]:
        if not is_value and not word.startswith("-"):
            return False
        is_value = not is_value and flags.get(word, False)
    return True
