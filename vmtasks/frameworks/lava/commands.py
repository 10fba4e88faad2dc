"""A lava_command_run as a test definition: each command is a case, called like its line."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vmtasks.errors import UsageError
from vmtasks.frameworks.lava.definition import RESULTS, TestDefinition, definition_of

_NAME = "lava-command-run"
_MOST_CHARACTERS = 8 * 1024 * 1024
"""So much may all that is run have, which is one script."""


def definition_of_commands(
    commands: Sequence[str], *, iterations: int, parser: str, fixups: Sequence[str], path: Path, where: str
) -> TestDefinition:
    """Return the definition: all commands run in one shell, and one that fails does not keep the next from it.

    :param fixups: results as WORD:RESULT.
    :param path: the job's file.
    :param where: the file and the key, for messages.
    :raise UsageError: there are no commands, or the parser cannot be.
    """
    if not all(one.strip() for one in commands) or not commands:
        raise UsageError(f"{where}: key 'commands' must be a list of lines for the shell, each with a command")
    if iterations * sum(map(len, commands)) > _MOST_CHARACTERS:
        raise UsageError(f"{where}: its commands, {iterations} times, have more than {_MOST_CHARACTERS} characters")
    document: dict[str, Any] = {
        "metadata": {"name": _NAME},
        "run": {"steps": [_step(command) for command in commands] * iterations},
    }
    if parser or fixups:
        pairs = [one.partition(":") for one in fixups]
        if wrong := [one for one, (_, colon, result) in zip(fixups, pairs, strict=True) if not colon or not result]:
            raise UsageError(
                f"{where}: key 'fixupdict' has '{wrong[0]}', and must have WORD:RESULT ({RESULTS[0]}, ...)"
            )
        if not parser:
            raise UsageError(f"{where}: key 'fixupdict' does nothing without 'parser'")
        document["parse"] = {"pattern": parser, "fixupdict": {word: result for word, _, result in pairs}}
    return replace(definition_of(document, Path(where)), path=path, is_alone=True)


def _step(command: str) -> str:
    line = shlex.quote(command)
    case = f"lava-test-case {line} --result"
    return f"if eval {line}; then {case} pass; else {case} fail; fi"
