"""Become another program, one that ends with its caller however that ends, has no privileges, and reaches few files.

A program, because what is done between fork(2) and execve(2) is not safe where there are threads.
"""

from __future__ import annotations

import json
import os
import sys

from vmtasks.process import landlock
from vmtasks.process.child import die_with_parent, drop_privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

NOT_FOUND = 127
"""The status where there is no such program, as a shell has it."""


def main() -> NoReturn:
    """Become what the command line names behind the number of the caller's process and what may be reached."""
    caller, reach, *command = sys.argv[1:]
    die_with_parent(int(caller))
    drop_privileges()
    try:
        with landlock.ruleset(landlock.Reach(*map(tuple, json.loads(reach)))) as rules:
            landlock.restrict(rules)
        os.execvp(command[0], command)  # noqa: S606 - that is the point
    except FileNotFoundError as problem:
        sys.stderr.write(f"cannot run {command[0]}: {problem.strerror}\n")
        sys.exit(NOT_FOUND)
    except OSError as problem:
        sys.exit(f"cannot run {command[0]}: {problem.strerror}")
