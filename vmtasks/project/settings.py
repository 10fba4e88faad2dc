"""What a project's vmtasks.toml may set: the schema, its defaults, and the variables that go over it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vmtasks.config.paths import is_at
from vmtasks.project.release import PATTERNS
from vmtasks.spec import AlarmPolicy, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Which machines the project's commands run in."""

    build: str = field(
        default="bookworm-build",
        metadata={"says": "the image that builds and tests", "env": "VMTASKS_BUILD_IMAGE"},
    )
    install: str = field(
        default="bookworm",
        metadata={"says": "the image that packages are installed in", "env": "VMTASKS_INSTALL_IMAGE"},
    )

    @classmethod
    def like(cls, name: str, directories: Iterable[Path], *, variant: str = "build") -> Images:
        """Return the pair that *name* belongs to: ``trixie`` installs in it and builds in ``trixie-build``.

        The same pair comes of ``trixie-build``. An image that has no such counterpart does both.

        :param directories: where image definitions are.
        :param variant: what the counterpart is called that builds, if there is one; else it is ``build``.
        :raise UsageError: no image can be called so.
        """
        places = tuple(directories)
        for suffix in dict.fromkeys((f"-{variant}", "-build")):
            plain = name.removesuffix(suffix)
            counterpart = plain if plain != name else f"{plain}{suffix}"
            if any(is_at(directory / f"{counterpart}.toml", stat.S_ISREG) for directory in places):
                return cls(build=f"{plain}{suffix}", install=plain)
        return cls(build=name, install=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSettings:
    """What machine the project needs; None leaves it to the image."""

    memory_mib: int | None = field(
        default=None, metadata={"says": "memory in MiB", "at_least": 64, "env": "VMTASKS_MEMORY_MIB"}
    )
    cpus: int | None = field(
        default=None, metadata={"says": "virtual processors", "at_least": 1, "env": "VMTASKS_CPUS"}
    )
    network: Network | None = field(
        default=None, metadata={"says": "what the machine reaches", "env": "VMTASKS_NETWORK"}
    )
    alarms: AlarmPolicy = field(
        default="warn", metadata={"says": "what an error of its kernel does to the run", "env": "VMTASKS_ALARMS"}
    )
    on: str = field(default="", metadata={"says": "where the machine runs", "env": "VMTASKS_ON"})

    @classmethod
    def of_no_project(cls, environ: Mapping[str, str] = os.environ) -> MachineSettings:
        """Return what holds for a machine of no project: what the environment says of alarms."""
        from vmtasks.config import toml

        names = ("VMTASKS_ALARMS",)
        return toml.override(cls(), {name: environ.get(name, "") for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """The project's own commands: shell lines, run at its root; an empty one is none."""

    dist: str = field(default="", metadata={"says": "a shell line", "env": "VMTASKS_DIST"})
    test: str = field(default="", metadata={"says": "a shell line", "env": "VMTASKS_TEST"})
    smoke: str = field(default="", metadata={"says": "a shell line", "env": "VMTASKS_SMOKE"})
    prepare: str = field(default="", metadata={"says": "a shell line", "env": "VMTASKS_PREPARE"})
    """What is done once for the test command, and kept."""
    prepare_files: tuple[str, ...] = field(default=(), metadata={"says": "globs", "env": "VMTASKS_PREPARE_FILES"})
    """What decides the result of that."""
    as_root: bool = field(
        default=False, metadata={"says": "whether the test command needs root", "env": "VMTASKS_AS_ROOT"}
    )
    timeout_s: float = field(
        default=3600.0,
        metadata={"says": "limit of one command in seconds, 0 for none", "at_least": 0, "env": "VMTASKS_TIMEOUT_S"},
    )
    packages: tuple[str, ...] = field(default=(), metadata={"says": "Debian packages", "env": "VMTASKS_PACKAGES"})
    lintian: Literal["error", "warning", "info", "none", "off"] = field(
        default="error", metadata={"says": "the least that lintian fails on", "env": "VMTASKS_LINTIAN"}
    )
    env: dict[str, str] = field(default_factory=dict, metadata={"says": "the commands' environment"})
    env_from: tuple[str, ...] = field(
        default=(), metadata={"says": "names of the host's variables", "env": "VMTASKS_ENV_FROM"}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """What install-test makes of what it finds."""

    leftovers: Literal["fail", "warn"] = field(
        default="fail",
        metadata={"says": "what a purge that leaves or changes files is", "env": "VMTASKS_LEFTOVERS"},
    )
    skipped: Literal["fail", "pass"] = field(
        default="fail",
        metadata={"says": "what it is if no test of the source tells anything", "env": "VMTASKS_SKIPPED"},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """How its Debian packages are built."""

    profiles: tuple[str, ...] = field(default=(), metadata={"says": "build profiles", "env": "VMTASKS_BUILD_PROFILES"})
    options: tuple[str, ...] = field(default=(), metadata={"says": "build options", "env": "VMTASKS_BUILD_OPTIONS"})
    network: Literal["none", "user"] = field(
        default="none", metadata={"says": "what the build reaches", "env": "VMTASKS_BUILD_NETWORK"}
    )
    source: bool = field(
        default=False, metadata={"says": "whether a source package comes out", "env": "VMTASKS_BUILD_SOURCE"}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    """What to bring out of the machine: globs relative to the project's root."""

    dist: tuple[str, ...] = field(default=PATTERNS, metadata={"says": "globs", "env": "VMTASKS_DIST_ARTIFACTS"})
    test: tuple[str, ...] = field(default=(), metadata={"says": "globs", "env": "VMTASKS_TEST_ARTIFACTS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """What the machine is given of the project, and what stands for the rest."""

    git: bool | None = field(
        default=None, metadata={"says": "whether the history travels", "env": "VMTASKS_SOURCE_GIT"}
    )
    """None: where a file of the project's asks git for something, and no version is set."""
    version: str = field(default="", metadata={"says": "the project's version", "env": "VMTASKS_VERSION"})
    orig: Literal["auto", "tree"] = field(
        default="auto", metadata={"says": "where upstream's tarball comes from", "env": "VMTASKS_ORIG"}
    )
