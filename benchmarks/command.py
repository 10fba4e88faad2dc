"""The command `vmtasks`: its help and its completion, and a machine for one command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measurement import Rows, Samples, bake, in_turn, python_s, slower
from benchmarks.starts import IMAGE, clone_command_s
from vmtasks import events

AT_MOST_TIMES = 2.0
_RUNS = 10
_ALMOST_EMPTY = """
from invoke import Collection, Program, task

@task
def test(_):
    \"\"\"Do nothing.\"\"\"

Program(namespace=Collection(test), name="empty", binary="empty").run()
"""
_ASKED = {"--help": ["--help"], "a completion": ["--complete", "--", "vmtasks", "te"]}


def command(runs: int) -> Rows:
    """Measure the command, in a directory where there is nothing, against an Invoke program of one task."""
    ours = str(Path(sys.executable).with_name("vmtasks"))
    bake(IMAGE)
    with TemporaryDirectory(prefix="vmtasks-bench-") as room, events.phase("vmtasks"):
        empty, compiled = Path(room, "empty"), Path(room, "compiled")
        empty.mkdir()

        def call_s(*argv: str) -> float:
            return python_s(argv, empty, compiled)

        def asked(words: Sequence[str]) -> tuple[Samples, ...]:
            almost_empty = [sys.executable, "-c", _ALMOST_EMPTY, *words]
            return in_turn(_RUNS, lambda: call_s(ours, *words), lambda: call_s(*almost_empty))

        for name, words in _ASKED.items():
            yield slower(f"vmtasks, {name}; against an Invoke program of one task", AT_MOST_TIMES, *asked(words))
        taken = in_turn(runs, lambda: call_s(ours, "run", "--", "true"), lambda: clone_command_s(IMAGE))
        yield slower("vmtasks run -- true; against the first command in a clone", None, *taken)
