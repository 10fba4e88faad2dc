"""Files of settings that can be found wrong without a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from vmtasks.config.own import own_directory
from vmtasks.config.settings import HostSettings
from vmtasks.errors import UsageError
from vmtasks.image import definition
from vmtasks.project import Project


def faults(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of everything that was looked at, with its fault; an empty text is none."""
    yield "the settings of this host", _fault(HostSettings.load)
    project = Project(root=root, name="")
    if not (fault := _fault(lambda: Project.load(root))):
        project = Project.load(root)
    yield str(root / "vmtasks.toml") if (root / "vmtasks.toml").is_file() else f"{root}, without a vmtasks.toml", fault
    if not fault:
        for key, name in (("build", project.images.build), ("install", project.images.install)):
            problem = _fault(lambda name=name: definition.find(name))  # type: ignore[misc]
            yield f"images.{key} = {name}", f"images.{key}: {problem}" if problem else ""
    directory = None if fault else own_directory("images", root)
    for path in sorted(directory.glob("*.toml")) if directory else []:
        yield str(path), _fault(lambda path=path: definition.read(path))  # type: ignore[misc]


def _fault(look: Callable[[], object]) -> str:
    try:
        look()
    except UsageError as problem:
        return str(problem)
    return ""
