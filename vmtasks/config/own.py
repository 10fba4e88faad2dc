"""What the directory that vmtasks is called in has of its own: recipes and images, which go before those of vmtasks.

It is the caller's directory, and not that of ``--source``: a recipe runs on the host, and so do parts of a
bake. A project that is only tested brings neither.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vmtasks.config.here import PACKAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where a project has its own recipes and images: directories relative to its root."""

    recipes: str = field(default="recipes", metadata={"says": "a directory"})
    images: str = field(default="images", metadata={"says": "a directory"})


def own_directory(kind: Literal["recipes", "images"], root: Path | None = None) -> Path | None:
    """Return the directory of *root*'s own recipes or images; None where it has none.

    :param root: by default, the working directory.
    :raise UsageError: its vmtasks.toml is not right.
    """
    if root is None:
        try:
            root = Path.cwd()
        except FileNotFoundError:  # it is gone
            return None
        if root == PACKAGE.parent:  # a checkout of vmtasks, what is there is ours: no need to read its vmtasks.toml
            return None
    paths = Paths()
    if os.path.lexists(root / "vmtasks.toml"):
        from vmtasks.config import toml

        table = toml.read(root / "vmtasks.toml", within=root).get("paths", {})
        paths = toml.parse(Paths, table, where=str(root / "vmtasks.toml"), over=paths) if table else paths
    directory = root / (paths.recipes if kind == "recipes" else paths.images)
    return directory if directory.is_dir() else None
