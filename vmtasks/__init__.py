"""vmtasks: a project's own build and test commands, in a clean virtual machine.

The front door. Names are imported when they are first used (PEP 562), so that ``inv --list`` and the
supervisor, which lives in this package and needs nothing but python3, do not pay for what they do not use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtasks.errors import (
        BootError,
        CommandFailed,
        ConnectionLost,
        HostError,
        Interrupted,
        TestFailed,
        TimeLimit,
        UsageError,
        VmtasksError,
    )
    from vmtasks.guest import Guest, Result, sh
    from vmtasks.machine import boot
    from vmtasks.project import Project
    from vmtasks.recipe import Run, recipe

__version__ = "0.1.0"

_HOMES = {
    "boot": "machine",
    "Guest": "guest",
    "Result": "guest",
    "sh": "guest",
    "Project": "project",
    "Run": "recipe",
    "recipe": "recipe",
    "VmtasksError": "errors",
    "UsageError": "errors",
    "TestFailed": "errors",
    "CommandFailed": "errors",
    "HostError": "errors",
    "BootError": "errors",
    "ConnectionLost": "errors",
    "TimeLimit": "errors",
    "Interrupted": "errors",
}

__all__ = [
    "BootError",
    "CommandFailed",
    "ConnectionLost",
    "Guest",
    "HostError",
    "Interrupted",
    "Project",
    "Result",
    "Run",
    "TestFailed",
    "TimeLimit",
    "UsageError",
    "VmtasksError",
    "boot",
    "recipe",
    "sh",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'vmtasks' has no attribute {name!r}")
    return getattr(import_module(f"vmtasks.{_HOMES[name]}"), name)
