"""The command ``vmtasks``: every task, without a tasks.py."""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import suppress
from copy import copy
from pathlib import Path

from invoke.exceptions import Exit, ParseError
from invoke.program import Program

from vmtasks import __version__
from vmtasks.cli import recipes
from vmtasks.cli.collect import collect
from vmtasks.cli.completion import values_for
from vmtasks.cli.overview import ALIASES, overview
from vmtasks.config.here import pages
from vmtasks.errors import Outcome, UsageError, did_you_mean

_NO_VALUE = re.compile(r"Flag <Argument: ([\w-]+)[^>]*> needed value")
_UNKNOWN = re.compile(r"No idea what '(.+)' is!")


class VmtasksProgram(Program):
    """Invoke's program, with a name and words of its own."""

    def normalize_argv(self, argv: list[str] | None) -> None:
        """Take ``help``, ``help TASK`` and ``shell IMAGE`` for what they mean; ``help PAGE`` is a task."""
        super().normalize_argv(argv)
        match self.argv[1:]:
            case ["help"]:
                self.argv = [self.argv[0], "--help"]
            case ["help", name] if self._is_task(name):
                self.argv = [self.argv[0], "--help", name]
            case ["help", name] if self.namespace and name in self.namespace.collections and name not in pages():
                self.argv = [self.argv[0], name]  # which tells its tasks
            case ["shell", image, *more] if not image.startswith("-"):  # Invoke knows no optional positional argument
                self.argv = [self.argv[0], "shell", "--image", image, *more]

    def _is_task(self, name: str) -> bool:
        with suppress(ValueError):  # it is a group of tasks
            return self.namespace is not None and name in self.namespace
        return False

    def parse_tasks(self) -> None:
        """Read the tasks and their options; say which one may have been meant.

        :raise UsageError: there is no such task or option, or what it needs is not there.
        """
        try:
            super().parse_tasks()
        except ParseError as problem:
            raise self._usage(problem) from problem

    def parse_cleanup(self) -> None:
        """Do what is asked for instead of a task: complete a value, or tell of a task that help is wanted for.

        :raise UsageError: there is no such task.
        """
        if self.args.complete.value and (values := values_for(self.core.remainder, self.collection)) is not None:
            print("\n".join(values))
            raise Exit
        try:
            super().parse_cleanup()
        except ParseError as problem:
            raise self._usage(problem) from problem

    def _usage(self, problem: ParseError) -> UsageError:
        unknown = _UNKNOWN.search(str(problem))
        if unknown is None:
            name = problem.context.name if problem.context else None
            hint = f"`vmtasks help {name}` shows what it takes" if name else "`vmtasks --help` lists what there is"
            missing = _NO_VALUE.search(str(problem))
            return UsageError(f"--{missing[1].replace('_', '-')} needs a value" if missing else str(problem), hint=hint)
        word = unknown[1].partition("=")[0]
        if word.startswith("-"):
            task = problem.context.name if problem.context else None
            flags = problem.context.flags if problem.context else {}
            hint = did_you_mean(word, [*flags, *self.initial_context.flags])
            where = f"'{task}' has no option {word}" if task else f"there is no option {word}"
            return UsageError(where, hint=hint or f"`vmtasks {f'help {task}' if task else '--help'}` lists them")
        if word in self.collection.collections:
            tasks = ", ".join(name for name in self.collection.task_names if name.startswith(f"{word}."))
            return UsageError(f"'{word}' is a group of tasks, and no task", hint=f"its tasks are {tasks}")
        hint = did_you_mean(word, self.collection.task_names)
        return UsageError(f"there is no task '{word}'", hint=hint or "`vmtasks --help` lists them")

    def print_help(self) -> None:
        """Print every task in its group."""
        print("\n".join(overview(self.collection, shutil.get_terminal_size((120, 24)).columns)))

    def print_task_help(self, name: str) -> None:
        """Print what a task does and takes."""
        from vmtasks.cli.task_help import head, option_groups

        task, context = self.collection[name], self.parser.contexts[name]
        print("\n".join(head(task, name, context)))
        for title, lines in option_groups(task, context):
            print(f"{title}:")
            self.print_columns(lines)

    def execute(self) -> None:
        """Run the tasks; say first which of ours is not ours."""
        for name in recipes.replaced():
            own = recipes.own_recipes()
            print(f"vmtasks: {name.replace('_', '-')} is this directory's own, from {own}", file=sys.stderr)
        super().execute()


def program() -> VmtasksProgram:
    """Return the program, with all tasks and their short names."""
    namespace = collect()
    for alias, name in ALIASES.items():
        if alias not in namespace.task_names and name in namespace:
            task = copy(namespace[name])
            task.help = dict(task.help)  # Invoke takes the words out of it as it reads a task's options
            namespace.add_task(task, name=alias)
    return VmtasksProgram(
        namespace=namespace, name="vmtasks", binary="vmtasks", binary_names=["vmtasks"], version=__version__
    )


def main() -> None:
    """Run the command line."""
    try:
        called = program()
    except Exit as problem:  # as Invoke does where it is the one to collect tasks
        print(problem.message, file=sys.stderr)
        sys.exit(problem.code)
    try:
        called.run()
    except PermissionError as problem:
        if not str(problem.filename).startswith(f"{Path.home()}/"):  # it need not be about a file
            raise
        # Invoke reads files of its own there, and takes for granted that it may.
        print(f"cannot read {problem.filename}: {problem.strerror}; HOME is somebody else's", file=sys.stderr)
        sys.exit(Outcome.HOST.exit_code)
