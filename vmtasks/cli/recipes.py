"""The package ``recipes``: the files of the working directory's project, and ours; the first that has a name wins.

It is the same package wherever the files lie, so that a recipe imports another one by its name alone, and gets the
project's own where it has one.
"""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

from vmtasks.config.here import beside
from vmtasks.config.own import own_directory
from vmtasks.errors import UsageError

_OF_VMTASKS = re.compile(r"^(?:from|import) vmtasks\b", re.MULTILINE)
"""What a recipe imports: a directory of that name may hold anything else."""


def own_recipes() -> Path | None:
    """Return the directory with recipes of the working directory's own; None where it has none."""
    directory = own_directory("recipes")
    if directory is None or directory.resolve() == beside("recipes").resolve():
        return None
    return directory if any(map(_is_recipe, directory.glob("*.py"))) else None


def modules() -> Iterator[ModuleType]:
    """Import the recipes, and yield their modules.

    A file of the project's that cannot be imported is told of on standard error, and left out.
    """
    try:
        own = own_recipes()
    except UsageError as problem:  # help, and what is wrong with the file, can still be asked for
        print(f"vmtasks: {problem}", file=sys.stderr)
        own = None
    places = [str(place) for place in (own, beside("recipes")) if place]
    package = sys.modules.setdefault("recipes", ModuleType("recipes"))
    package.__path__ = list(dict.fromkeys([*places, *getattr(package, "__path__", [])]))
    for info in pkgutil.iter_modules(places):
        file = own / f"{info.name}.py" if own else None
        is_own = file is not None and file.exists()
        try:
            yield import_own(f"recipes.{info.name}") if is_own else import_module(f"recipes.{info.name}")
        except Exception as problem:
            if not is_own:
                raise
            print(f"vmtasks: cannot use {file}: {type(problem).__name__}: {problem}", file=sys.stderr)


def import_own(name: str) -> ModuleType:
    """Import a module of the project's, and have Python write nothing beside it: the project's tree stays as it is."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return import_module(name)
    finally:
        sys.dont_write_bytecode = before


def replaced() -> list[str]:
    """Return the names of those recipes of ours that the working directory has files of its own for."""
    with suppress(UsageError):  # which modules() has told of
        own = own_recipes()
        here = {info.name for info in pkgutil.iter_modules([str(own)])} if own else set()
        return sorted(here.intersection(info.name for info in pkgutil.iter_modules([str(beside("recipes"))])))
    return []


def _is_recipe(path: Path) -> bool:
    try:
        return _OF_VMTASKS.search(path.read_text(encoding="utf-8", errors="replace")) is not None
    except OSError:
        return False
