"""A shell for a person, in the middle of what autopkgtest does: its streams are taken, the terminal is not."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePath

from vmtasks import events
from vmtasks.guest import Guest

_TERMINAL = Path("/dev/tty")
_ARTIFACTS = "-artifacts"
"""What follows the name of a test in that of its directory."""


def variables(environment: Sequence[str]) -> dict[str, str]:
    """Return additions to an environment, as autopkgtest writes them: ``NAME="VALUE"``, for a shell."""
    return dict(word.split("=", 1) for text in environment for word in _words(text) if "=" in word)


def begun_test(environment: Sequence[str]) -> str | None:
    """Return the name of the test that ran with such additions; None where none had begun."""
    name = PurePath(variables(environment).get("AUTOPKGTEST_ARTIFACTS", "")).name
    return name.removesuffix(_ARTIFACTS) if name.endswith(_ARTIFACTS) else None


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote alone
        return [text]


def shell_on_terminal(guest: Guest, directory: str, environment: Sequence[str]) -> None:
    """Open an interactive shell in the guest on the terminal of the process; without one, say so instead.

    :param environment: additions, as autopkgtest writes them.
    """
    program, *words = guest.ssh_command
    exports = "".join(f"export {setting}; " for setting in environment)
    line = f"cd {shlex.quote(directory)}; {exports}exec bash"
    try:
        with _TERMINAL.open("r+b", buffering=0) as terminal:
            subprocess.run([program, "-t", *words, line], stdin=terminal, stdout=terminal, stderr=terminal, check=False)
    except OSError as problem:
        text = f"cannot open a shell: there is no terminal ({problem.strerror})"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
