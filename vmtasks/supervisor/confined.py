"""Start a program of QEMU's from a process that has but one thread, as the supervisor has."""

from __future__ import annotations

import os
import subprocess

from vmtasks.host.program_files import program_files
from vmtasks.process import landlock
from vmtasks.process.child import die_with_parent, drop_privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def confine(parent: int, rules: int | None) -> None:
    """In the child, before it is another program: end with *parent*, have no privileges, and reach what *rules* say."""
    die_with_parent(parent)
    drop_privileges()
    landlock.restrict(rules)


def start_confined(argv: Sequence[str], reach: landlock.Reach, **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
    """Start a program that reaches *reach* and what itself needs, and has none of our standard streams.

    :param options: others of ``Popen``.
    :raise OSError: there is no such program, or the kernel does not confine it.
    """
    parent = os.getpid()
    with landlock.ruleset(program_files(argv[0]) | reach) as rules:
        try:
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                preexec_fn=lambda: confine(parent, rules),  # noqa: PLW1509 - there is but one thread here
                **options,
            )
        except subprocess.SubprocessError as problem:
            raise OSError(f"{argv[0]} could not be confined: the kernel refused (landlock(7))") from problem
