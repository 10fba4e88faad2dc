"""Become another program, one that ends with its caller however that ends, and has no privileges.

A program, because what is done between fork(2) and execve(2) is not safe where there are threads.
"""

from __future__ import annotations

import os
import sys

from vmtasks.process.child import die_with_parent, drop_privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Become what the command line names behind the number of the caller's process."""
    caller, *command = sys.argv[1:]
    die_with_parent(int(caller))
    drop_privileges()
    try:
        os.execvp(command[0], command)  # noqa: S606 - that is the point
    except OSError as problem:
        sys.exit(f"cannot run {command[0]}: {problem.strerror}")
