"""vmtasks: a project's own build and test commands, in a clean virtual machine.

The front door. Names are imported when they are first used (PEP 562), so that ``inv --list`` and the
supervisor, which lives in this package and needs nothing but python3, do not pay for what they do not use.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # typing itself would take the supervisor a tenth of its start
if TYPE_CHECKING:
    from vmtasks import events
    from vmtasks.autopkgtest.tests import PackageTests
    from vmtasks.debian import apt, changes, leftovers, packages
    from vmtasks.errors import (
        BootError,
        CommandFailed,
        ConnectionLost,
        GuestLost,
        HostError,
        Interrupted,
        NothingTested,
        TestFailed,
        TestSkipped,
        TimeLimit,
        UsageError,
        VmtasksError,
    )
    from vmtasks.guest import Guest, Result, sh
    from vmtasks.process.threads import at_once
    from vmtasks.project import Project, builddeps, pip, source_date_epoch
    from vmtasks.project.profiles import build_env
    from vmtasks.project.source import Source
    from vmtasks.providers.base import Provider, Wishes
    from vmtasks.providers.boot import boot, machines_from
    from vmtasks.providers.preparation import Provisioning
    from vmtasks.run.run import Run, recipe
    from vmtasks.spec import Checkpoint

__version__ = "0.1.0"

_HOMES = {
    "boot": "providers.boot",
    "machines_from": "providers.boot",
    "Checkpoint": "spec",
    "Provider": "providers.base",
    "Wishes": "providers.base",
    "Guest": "guest",
    "Result": "guest",
    "sh": "guest",
    "PackageTests": "autopkgtest.tests",
    "build_env": "project.profiles",
    "at_once": "process.threads",
    "Project": "project",
    "Provisioning": "providers.preparation",
    "source_date_epoch": "project",
    "Source": "project.source",
    "Run": "run.run",
    "recipe": "run.run",
    "VmtasksError": "errors",
    "UsageError": "errors",
    "TestFailed": "errors",
    "TestSkipped": "errors",
    "CommandFailed": "errors",
    "GuestLost": "errors",
    "NothingTested": "errors",
    "HostError": "errors",
    "BootError": "errors",
    "ConnectionLost": "errors",
    "TimeLimit": "errors",
    "Interrupted": "errors",
}

_ROOMS = {
    "apt": "debian.apt",
    "builddeps": "project.builddeps",
    "changes": "debian.changes",
    "events": "events",
    "leftovers": "debian.leftovers",
    "packages": "debian.packages",
    "pip": "project.pip",
}
"""Modules that recipes use as such."""

__all__ = [
    "BootError",
    "Checkpoint",
    "CommandFailed",
    "ConnectionLost",
    "Guest",
    "GuestLost",
    "HostError",
    "Interrupted",
    "NothingTested",
    "PackageTests",
    "Project",
    "Provider",
    "Provisioning",
    "Result",
    "Run",
    "Source",
    "TestFailed",
    "TestSkipped",
    "TimeLimit",
    "UsageError",
    "VmtasksError",
    "Wishes",
    "apt",
    "at_once",
    "boot",
    "build_env",
    "builddeps",
    "changes",
    "events",
    "leftovers",
    "machines_from",
    "packages",
    "pip",
    "recipe",
    "sh",
    "source_date_epoch",
]


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return import_module(f"vmtasks.{_ROOMS[name]}")
    if name not in _HOMES:
        raise AttributeError(f"module 'vmtasks' has no attribute {name!r}")
    return getattr(import_module(f"vmtasks.{_HOMES[name]}"), name)
