"""The command line that repeats those tests of a suite that have failed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from vmtasks.errors import Outcome, UsageError
from vmtasks.frameworks.suite.runners import SHELL, runner_of
from vmtasks.run.rerun import value_of, with_value, words_of

_LIMIT_BYTES = 100_000
"""How long one word of a command line may be: Linux takes 131,071 bytes (execve(2), MAX_ARG_STRLEN)."""


def words_of_failed_cases(run: Mapping[str, Any]) -> list[str]:
    """Return the command line of a run of ``suite`` with those of its tests alone that failed.

    :raise UsageError: none has failed, or its runner cannot be told names.
    """
    words = words_of(run)
    runner = runner_of(value_of(words, "runner") or SHELL)
    failed = [row["case"] for row in run["cases"] if row["definition"] and row["outcome"] == Outcome.FAILED]
    if not failed:
        raise UsageError("there is nothing to repeat: no test of the suite failed")
    only = runner.only(failed)
    if not only:
        raise UsageError(
            f"cannot repeat only what failed: {runner.name} cannot be told tests by the names that it reports",
            hint="`rerun` repeats all; --args tells the runner which to run",
        )
    # Patterns of scripts say which; other runners add what they are told.
    given = [] if runner.name == SHELL else shlex.split(value_of(words, "args") or "")
    args = shlex.join([*given, *only])
    if len(args.encode()) > _LIMIT_BYTES:
        raise UsageError(f"cannot repeat only what failed: {len(failed)} tests are too many for a command line")
    return with_value(words, "args", args)
