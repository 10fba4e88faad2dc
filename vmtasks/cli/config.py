"""What holds: each setting of the host and of a project, and where it comes from; and whether the files are right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from vmtasks.cli.table import AS_JSON, Column, tell

if TYPE_CHECKING:
    from vmtasks.config.origins import Setting


PAIR = "VMTASKS_IMAGE"
"""The one variable that sets two settings."""


@task(help={"source": "the project's directory", "json": AS_JSON}, auto_shortflags=False)
def config(_: Context, source: str = ".", json: bool = False) -> None:
    """Show each setting that holds here, and where it comes from: a file, a variable, a guess, or the default."""
    columns = (Column("key", "SETTING"), Column("origin", "FROM"), Column("value", "VALUE", _in_words))
    records = [{name: getattr(one, name) for name in ("key", "origin", "value")} for one in _settings(Path(source))]
    print(tell(columns, records, as_json=json))


@task(help={"source": "the project's directory"}, auto_shortflags=False)
def lint(_: Context, source: str = ".") -> None:
    """Check vmtasks.toml, the settings of this host, and the definitions of images; nothing is run."""
    from vmtasks.cli.lint import faults
    from vmtasks.errors import Outcome

    found = False
    for name, fault in faults(Path(source)):
        print(fault or f"ok  {name}")
        found = found or bool(fault)
    if found:
        raise Exit(code=Outcome.USAGE.exit_code)


def _settings(root: Path) -> Iterator[Setting]:
    """Yield the project's settings, then the host's."""
    from vmtasks.config import toml
    from vmtasks.config.origins import origins
    from vmtasks.config.settings import HostSettings
    from vmtasks.project import Project

    path = root / "vmtasks.toml"
    files = [(str(path), toml.read(path, within=root))] if path.is_file() else []
    for one in origins(Project.load(root), files, os.environ):
        is_pair = one.key.startswith("images.") and os.environ.get(PAIR) and not one.origin.startswith("VMTASKS_")
        yield replace(one, origin=PAIR) if is_pair else one
    files = [(str(file), toml.read(file)) for file in reversed(HostSettings.files())]
    yield from origins(HostSettings.load(), files, os.environ)


def _in_words(value: object) -> str:
    """Show a value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={text}" for name, text in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
