"""The tasks of an index: those that come with vmtasks, the recipes, and those of a project's own modules."""

from __future__ import annotations

import atexit
import os
import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from invoke.collection import Collection
from invoke.tasks import Task

from vmtasks import events
from vmtasks.cli import recipes
from vmtasks.errors import UsageError
from vmtasks.process.stdout import end_with_reader

GROUPS = ("images", "vm", "host")
"""Modules whose tasks have their name before them: ``images.list``."""
ALONE = ("init", "run", "shell", "reopen", "named", "config", "doctor", "setup", "pages")
_NEEDED = ("invoke", "fabric", "paramiko", "rich")


def collect(*modules: str) -> Collection:
    """Return a collection of our own tasks, of all recipes, and of the tasks in *modules*.

    The last line of a project's tasks.py: ``namespace = collect(__name__)``. It is what `inv` calls first, so that
    this is also where its standard output is seen to, and that Python keeps what it compiles of us: Invoke has it not
    do so, and each call would compile all.

    :param modules: names of modules with tasks, and of packages with such modules.
    :raise UsageError: PYTHONPATH has other versions of what they need.
    """
    end_with_reader()
    atexit.register(_tell_unheard)
    sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
    if path := os.environ.get("PYTHONPATH"):
        _expect_own_packages([one for one in path.split(os.pathsep) if one])
    namespace = Collection()
    for name in GROUPS:
        namespace.add_collection(Collection.from_module(import_module(f"vmtasks.cli.{name}")), name=name)
    alone = (import_module(f"vmtasks.cli.{name}") for name in ALONE)
    for module in (*alone, *recipes.modules(), *_below(modules)):
        for task in _tasks(module):
            namespace.add_task(task)
    return namespace


def _tell_unheard() -> None:
    """Say what was told of old names of settings in a command that nothing listens to, such as `config`."""
    for note in events.unheard():
        print(f"vmtasks: {note.text}", file=sys.stderr)


def _expect_own_packages(path: list[str]) -> None:
    for name in _NEEDED:
        spec = find_spec(name)
        where = next((one for one in path if spec and Path(spec.origin or "").is_relative_to(Path(one).absolute())), "")
        if where and not Path(where).absolute().is_relative_to(sys.prefix):
            raise UsageError(
                f"cannot go on: PYTHONPATH has another {name} than the one that was installed with vmtasks, in {where}",
                hint="unset PYTHONPATH, or take that directory out of it",
            )


def _below(names: tuple[str, ...]) -> Iterator[ModuleType]:
    for name in names:
        module = recipes.import_own(name)
        yield module
        for info in pkgutil.iter_modules(getattr(module, "__path__", [])):
            yield recipes.import_own(f"{name}.{info.name}")


def _tasks(module: object) -> list[Task[Any]]:
    """Return the tasks that a module defines, as opposed to those that it imports."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, Task) and value.body.__module__ == getattr(module, "__name__", "")
    ]
