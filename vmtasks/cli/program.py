"""The command ``vmtasks``: every task, without a tasks.py."""

from __future__ import annotations

import os
import signal
import sys

from invoke.program import Program

from vmtasks import __version__
from vmtasks.cli import recipes
from vmtasks.cli.collect import collect

ALIASES = {"test": "test-in-vm", "shell": "vm.shell", "ps": "vm.ps"}


class VmtasksProgram(Program):
    """Invoke's program, with a name of its own; it ends as others do when the reader of its output goes away."""

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:  # noqa: A002 - Invoke's name
        """Run the tasks of a command line, and exit with their status."""
        try:
            try:
                super().run(argv, exit)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            # What is still in the buffer goes nowhere, and Python has nothing to say about it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)

    def normalize_argv(self, argv: list[str] | None) -> None:
        """Take ``help`` and ``help TASK`` for what they mean; ``help PAGE`` is a task."""
        super().normalize_argv(argv)
        match self.argv[1:]:
            case ["help"]:
                self.argv = [self.argv[0], "--help"]
            case ["help", name] if self.namespace and name in self.namespace:
                self.argv = [self.argv[0], "--help", name]

    def execute(self) -> None:
        """Run the tasks; say first which of ours is not ours."""
        for name in recipes.replaced():
            print(
                f"vmtasks: {name.replace('_', '-')} is this directory's own, from {recipes.own_recipes()}",
                file=sys.stderr,
            )
        super().execute()


def main() -> None:
    """Run the command line."""
    namespace = collect()
    for alias, name in ALIASES.items():
        if alias not in namespace.task_names:
            namespace.add_task(namespace[name], name=alias)
    VmtasksProgram(
        namespace=namespace, name="vmtasks", binary="vmtasks", binary_names=["vmtasks"], version=__version__
    ).run()
