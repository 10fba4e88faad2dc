"""A project's guess, written down: the few lines of a vmtasks.toml."""

from __future__ import annotations

import json

from vmtasks.config.here import page
from vmtasks.project.project import Project

_UNKNOWN = '# test = "make check"  # a shell line that tests it; `packages` are what it needs of Debian'


def settings_file(project: Project) -> str:
    """Return the text of the vmtasks.toml that sets what was detected of *project*."""
    found = project.detected
    lines = [f"# {found.kind if found else 'What it is could not be told'}. Every key: {page('vmtasks.toml')}"]
    if found and found.note:
        images = {"build": project.images.build, "install": project.images.install}
        lines += ["", f"[images]  # {found.note}", *(f"{key} = {_toml(name)}" for key, name in images.items())]
    if project.is_packaged:  # a dist command would be what the packages are built from
        return "\n".join([*lines, ""])
    lines += ["", "[commands]"]
    if found is None or not found.test.line:
        lines += [*([f"# {found.untested}"] if found and found.untested else []), _UNKNOWN]
    if found:
        values: dict[str, str | tuple[str, ...]] = {
            "test": found.test.line,
            "dist": found.dist.line,
            "packages": found.packages,
        }
        lines += [f"{key} = {_toml(value)}" for key, value in values.items() if value]
        lines += ["as_root = true"] if found.test.as_root else []
        if found.test.artifacts:
            lines += ["", "[artifacts]", f"test = {_toml(found.test.artifacts)}"]
    return "\n".join([*lines, ""])


def _toml(value: str | tuple[str, ...]) -> str:
    """Write a value as TOML: as a literal where that can hold it, since shell lines are full of quotes."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if '"' in value and "'" not in value and value.isprintable():
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=not value.isprintable())
