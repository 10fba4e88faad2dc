"""A shell for a person, in the middle of what autopkgtest does: its streams are taken, the terminal is not."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from vmtasks import events
from vmtasks.guest import Guest

_TERMINAL = Path("/dev/tty")


def shell_on_terminal(guest: Guest, directory: str, environment: Sequence[str]) -> None:
    """Open an interactive shell in the guest on the terminal of the process; without one, say so instead.

    :param environment: additions, as autopkgtest writes them: ``NAME="VALUE"``, for a shell.
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
