"""vmtasks: a project's own build and test commands, in a clean virtual machine.

The front door. Names are imported when they are first used (PEP 562), so that ``inv --list`` and the
supervisor, which lives in this package and needs nothing but python3, do not pay for what they do not use.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

TYPE_CHECKING = False  # typing itself would take the supervisor a tenth of its start
if TYPE_CHECKING:
    from vmtasks import events, installables
    from vmtasks.cli.collect import collect
    from vmtasks.debian import apt, changes, kernels, leftovers, packages
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
        TimedOut,
        UsageError,
        VmtasksError,
    )
    from vmtasks.frameworks import lava
    from vmtasks.frameworks.autopkgtest.tests import PackageTests
    from vmtasks.frameworks.netperf.iperf3 import Traffic
    from vmtasks.frameworks.netperf.run import run_netperf
    from vmtasks.frameworks.suite.run import run_suite
    from vmtasks.frameworks.suite.suite import Suite
    from vmtasks.group.boot import boot_group
    from vmtasks.group.group import Group
    from vmtasks.group.roles import Role
    from vmtasks.guest import Guest, Result, sh  # noqa: F401 - sh is understood until 0.2
    from vmtasks.installables.base import Installable
    from vmtasks.kernel.kept import Kernel
    from vmtasks.process.parallel_failed import ParallelFailed
    from vmtasks.process.threads import parallel
    from vmtasks.profile.profile import Profile
    from vmtasks.project import Project, builddeps, fetching, lintian, release, source_date_epoch
    from vmtasks.project.profiles import build_env
    from vmtasks.project.source import Source
    from vmtasks.providers.base import BootOptions, Provider
    from vmtasks.providers.boot import boot, use_provider
    from vmtasks.providers.preparation import Preparation
    from vmtasks.run.build_dependencies import build_dependencies
    from vmtasks.run.group_job import run_group_job
    from vmtasks.run.own_dependencies import own_dependencies
    from vmtasks.run.own_tests import run_own_tests, test_command
    from vmtasks.run.run import Run
    from vmtasks.run.task import recipe
    from vmtasks.spec import Checkpoint

__version__ = "0.1.0"

_HOMES = {
    "boot": "providers.boot",
    "boot_group": "group.boot",
    "Group": "group.group",
    "Role": "group.roles",
    "use_provider": "providers.boot",
    "Checkpoint": "spec",
    "Provider": "providers.base",
    "BootOptions": "providers.base",
    "Guest": "guest",
    "Result": "guest",
    "sh": "guest",
    "Installable": "installables.base",
    "Kernel": "kernel.kept",
    "PackageTests": "frameworks.autopkgtest.tests",
    "build_dependencies": "run.build_dependencies",
    "build_env": "project.profiles",
    "parallel": "process.threads",
    "ParallelFailed": "process.parallel_failed",
    "Profile": "profile.profile",
    "Project": "project",
    "Preparation": "providers.preparation",
    "source_date_epoch": "project",
    "Source": "project.source",
    "Run": "run.run",
    "collect": "cli.collect",
    "run_group_job": "run.group_job",
    "own_dependencies": "run.own_dependencies",
    "run_netperf": "frameworks.netperf.run",
    "Traffic": "frameworks.netperf.iperf3",
    "run_own_tests": "run.own_tests",
    "run_suite": "frameworks.suite.run",
    "Suite": "frameworks.suite.suite",
    "test_command": "run.own_tests",
    "recipe": "run.task",
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
    "TimedOut": "errors",
    "Interrupted": "errors",
}

_ROOMS = {
    "apt": "debian.apt",
    "builddeps": "project.builddeps",
    "changes": "debian.changes",
    "events": "events",
    "fetching": "project.fetching",
    "installables": "installables",
    "kernels": "debian.kernels",
    "lava": "frameworks.lava",
    "leftovers": "debian.leftovers",
    "lintian": "project.lintian",
    "packages": "debian.packages",
    "release": "project.release",
}
"""Modules that are used under these names, and imported when something of them is."""

__all__ = [
    "BootError",
    "BootOptions",
    "Checkpoint",
    "CommandFailed",
    "ConnectionLost",
    "Group",
    "Guest",
    "GuestLost",
    "HostError",
    "Installable",
    "Interrupted",
    "Kernel",
    "NothingTested",
    "PackageTests",
    "ParallelFailed",
    "Preparation",
    "Profile",
    "Project",
    "Provider",
    "Result",
    "Role",
    "Run",
    "Source",
    "Suite",
    "TestFailed",
    "TestSkipped",
    "TimedOut",
    "Traffic",
    "UsageError",
    "VmtasksError",
    "apt",
    "boot",
    "boot_group",
    "build_dependencies",
    "build_env",
    "builddeps",
    "changes",
    "collect",
    "events",
    "fetching",
    "installables",
    "kernels",
    "lava",
    "leftovers",
    "lintian",
    "own_dependencies",
    "packages",
    "parallel",
    "recipe",
    "release",
    "run_group_job",
    "run_netperf",
    "run_own_tests",
    "run_suite",
    "source_date_epoch",
    "test_command",
    "use_provider",
]


_RENAMED = {
    "TimeLimit": "TimedOut",
    "Wishes": "BootOptions",
    "at_once": "parallel",
    "machines_from": "use_provider",
}
"""Names of before 0.2, understood until then."""


class _Later(ModuleType):
    """Stands for a module, which is imported when something of it is first used.

    The import system does that under its locks; those of importlib.util.LazyLoader can be seen half-made by another
    thread in Python 3.11.
    """

    def __getattr__(self, name: str) -> object:
        return getattr(import_module(self.__name__), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(import_module(self.__name__), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(import_module(self.__name__), name)

    @property
    def __dict__(self) -> dict[str, object]:  # type: ignore[override] # what dir() and pytest's monkeypatch look at
        return vars(import_module(self.__name__))


def __getattr__(name: str) -> object:
    if name in _RENAMED:
        import warnings

        warnings.warn(f"vmtasks.{name} is now vmtasks.{_RENAMED[name]}", FutureWarning, stacklevel=2)
        return __getattr__(_RENAMED[name])
    if name in _ROOMS:
        return _Later(f"vmtasks.{_ROOMS[name]}")
    if name not in _HOMES:
        raise AttributeError(f"module 'vmtasks' has no attribute {name!r}")
    return getattr(import_module(f"vmtasks.{_HOMES[name]}"), name)
