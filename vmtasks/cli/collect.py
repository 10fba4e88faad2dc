"""The tasks of an index: those that come with vmtasks, and those of packages."""

from __future__ import annotations

import os
import pkgutil
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.tasks import Task

from vmtasks.errors import UsageError
from vmtasks.process.stdout import end_with_reader

_NEEDED = ("invoke", "fabric", "paramiko", "rich")
OWN = ("images", "vm", "doctor")


def collect(*packages: str) -> Collection:
    """Return a collection of our own tasks and of every task in the modules of *packages*.

    :raise UsageError: PYTHONPATH has other versions of what they need.

    It is what `inv` calls first, so that this is also where its standard output is seen to.
    """
    end_with_reader()
    if path := os.environ.get("PYTHONPATH"):
        _expect_own_packages([one for one in path.split(os.pathsep) if one])
    namespace = Collection()
    for name in OWN:
        module = import_module(f"vmtasks.cli.{name}")
        found = _tasks(module)
        if len(found) == 1:
            namespace.add_task(found[0])
        else:
            namespace.add_collection(Collection.from_module(module), name=name)
    for package in packages:
        for info in pkgutil.iter_modules(import_module(package).__path__):
            for task in _tasks(import_module(f"{package}.{info.name}")):
                namespace.add_task(task)
    return namespace


def _expect_own_packages(path: list[str]) -> None:
    for name in _NEEDED:
        spec = find_spec(name)
        where = next((one for one in path if spec and Path(spec.origin or "").is_relative_to(Path(one).absolute())), "")
        if where and not Path(where).absolute().is_relative_to(sys.prefix):
            raise UsageError(
                f"cannot go on: PYTHONPATH has another {name} than the one that was installed with vmtasks, in {where}",
                hint="unset PYTHONPATH, or take that directory out of it",
            )


def _tasks(module: object) -> list[Task[Any]]:
    """Return the tasks that a module defines, as opposed to those that it imports."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, Task) and value.body.__module__ == getattr(module, "__name__", "")
    ]
