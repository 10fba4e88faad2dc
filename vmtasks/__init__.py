"""vmtasks: a project's own build and test commands, in a clean virtual machine.

The front door. Names are imported when they are first used (PEP 562), so that ``inv --list`` and the
supervisor, which lives in this package and needs nothing but python3, do not pay for what they do not use.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # typing itself would take the supervisor a tenth of its start
if TYPE_CHECKING:
    from vmtasks import apt, builddeps, changes, events, leftovers, packages, pip
    from vmtasks.autopkgtest.tests import PackageTests
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
    from vmtasks.machine import boot, machines_from
    from vmtasks.parallel import at_once
    from vmtasks.profiles import build_env
    from vmtasks.project import Project, source_date_epoch
    from vmtasks.provider import Provider, Wishes
    from vmtasks.provision import Provisioning
    from vmtasks.run import Run, recipe
    from vmtasks.source import Source
    from vmtasks.spec import Checkpoint

__version__ = "0.1.0"

_HOMES = {
    "boot": "machine",
    "machines_from": "machine",
    "Checkpoint": "spec",
    "Provider": "provider",
    "Wishes": "provider",
    "Guest": "guest",
    "Result": "guest",
    "sh": "guest",
    "PackageTests": "autopkgtest.tests",
    "build_env": "profiles",
    "at_once": "parallel",
    "Project": "project",
    "Provisioning": "provision",
    "source_date_epoch": "project",
    "Source": "source",
    "Run": "run",
    "recipe": "run",
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

_ROOMS = ("apt", "builddeps", "changes", "events", "leftovers", "packages", "pip")
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
        return import_module(f"vmtasks.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'vmtasks' has no attribute {name!r}")
    return getattr(import_module(f"vmtasks.{_HOMES[name]}"), name)
