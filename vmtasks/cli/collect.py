"""The tasks of an index: those that come with vmtasks, the recipes, and those of a project's own modules."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from invoke.collection import Collection
from invoke.tasks import Task

from vmtasks.cli import recipes

GROUPS = ("images", "vm")
"""Modules whose tasks have their name before them: ``images.list``."""
ALONE = ("init", "run", "config", "doctor", "setup", "pages")


def collect(*modules: str) -> Collection:
    """Return a collection of our own tasks, of all recipes, and of the tasks in *modules*.

    The last line of a project's tasks.py: ``namespace = collect(__name__)``.

    :param modules: names of modules with tasks, and of packages with such modules.
    """
    namespace = Collection()
    for name in GROUPS:
        namespace.add_collection(Collection.from_module(import_module(f"vmtasks.cli.{name}")), name=name)
    alone = (import_module(f"vmtasks.cli.{name}") for name in ALONE)
    for module in (*alone, *recipes.modules(), *_below(modules)):
        for task in _tasks(module):
            namespace.add_task(task)
    return namespace


def _below(names: tuple[str, ...]) -> Iterator[ModuleType]:
    for name in names:
        module = import_module(name)
        yield module
        for info in pkgutil.iter_modules(getattr(module, "__path__", [])):
            yield import_module(f"{name}.{info.name}")


def _tasks(module: object) -> list[Task[Any]]:
    """Return the tasks that a module defines, as opposed to those that it imports."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, Task) and value.body.__module__ == getattr(module, "__name__", "")
    ]
