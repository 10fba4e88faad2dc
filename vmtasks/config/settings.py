"""Where things are on this host, and what its owner has settled for every project.

::

    /etc/vmtasks/config.toml                  the host's
    $XDG_CONFIG_HOME/vmtasks/config.toml      the user's, over it, key by key; $VMTASKS_CONFIG names another file
    $VMTASKS_SLOTS, $VMTASKS_ACCEL, ...       the environment, over both
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from vmtasks import events
from vmtasks.config import hours, toml
from vmtasks.config.paths import _xdg
from vmtasks.errors import UsageError
from vmtasks.spec import LOCAL

Accel = Literal["auto", "kvm", "tcg"]

SYSTEM_CONFIG = Path("/etc/vmtasks/config.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingHost:
    """Lines for the shell of this host that switch another one, and lead to its console."""

    reset: str = field(default="", metadata={"says": "a line of shell that resets it"})
    power_off: str = field(default="", metadata={"says": "a line of shell that switches it off"})
    power_on: str = field(default="", metadata={"says": "a line of shell that switches it on"})
    power_timeout_s: float = field(
        default=60.0, metadata={"says": "how long each of these three may take in seconds", "at_least": 1}
    )
    console: str = field(default="", metadata={"says": "a line of shell that connects to its serial console"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What holds on this host, whatever the project."""

    on: str = field(default="", metadata={"says": "where machines run", "env": "VMTASKS_ON"})
    ssh: str = field(default="ssh", metadata={"says": "the ssh that reaches other hosts", "env": "VMTASKS_SSH"})
    machines: int | None = field(
        default=None,
        metadata={"says": "machines at a time", "at_least": 1, "env": "VMTASKS_SLOTS"},
    )
    memory_mib: int | None = field(
        default=None,
        metadata={"says": "memory of all machines in MiB", "at_least": 1, "env": "VMTASKS_SLOTS_MEMORY_MIB"},
    )
    availability: Literal["eager", "reluctant", "none"] = field(
        default="eager", metadata={"says": "whether new machines are taken", "env": "VMTASKS_AVAILABILITY"}
    )
    eager_hours: str = field(default="", metadata={"says": "hours of the week", "env": "VMTASKS_EAGER_HOURS"})
    eager_load: float | None = field(
        default=None, metadata={"says": "the most load average", "at_least": 0, "env": "VMTASKS_EAGER_LOAD"}
    )
    eager_users: int | None = field(
        default=None,
        metadata={"says": "how many others may be logged in", "at_least": 0, "env": "VMTASKS_EAGER_USERS"},
    )
    availability_otherwise: Literal["reluctant", "none"] = field(
        default="none", metadata={"says": "whether machines are taken else", "env": "VMTASKS_AVAILABILITY_OTHERWISE"}
    )
    accel: Accel = field(default="auto", metadata={"says": "accelerator", "env": "VMTASKS_ACCEL"})
    mirror: str = field(default="", metadata={"says": "URL of a Debian mirror", "env": "VMTASKS_MIRROR"})
    attempts: int = field(
        default=3,
        metadata={"says": "how often to try to boot", "at_least": 1, "env": "VMTASKS_ATTEMPTS"},
    )
    boot_timeout_s: float = field(
        default=300.0,
        metadata={
            "says": "limit of one boot in seconds, 0 for none",
            "at_least": 0,
            "env": "VMTASKS_BOOT_TIMEOUT_S",
            "was": "boot_limit_s",
            "env_was": "VMTASKS_BOOT_LIMIT_S",
        },
    )
    snapshots_mib: int = field(
        default=20 * 1024,
        metadata={
            "says": "disk for templates and checkpoints in MiB",
            "at_least": 0,
            "env": "VMTASKS_SNAPSHOTS_MIB",
            "was": "frozen_mib",
            "env_was": "VMTASKS_FROZEN_MIB",
        },
    )
    snapshots_share: float = field(
        default=0.25,
        metadata={
            "says": "the share of the free disk for them",
            "at_least": 0,
            "env": "VMTASKS_SNAPSHOTS_SHARE",
            "was": "frozen_share",
            "env_was": "VMTASKS_FROZEN_SHARE",
        },
    )
    freeze: bool = field(
        default=False, metadata={"says": "whether a failed machine is frozen for reopen", "env": "VMTASKS_FREEZE"}
    )
    reopen_days: float = field(
        default=2.0,
        metadata={"says": "age of frozen machines in days, 0 for any", "at_least": 0, "env": "VMTASKS_REOPEN_DAYS"},
    )
    reopen_mib: int = field(
        default=4096,
        metadata={"says": "disk for frozen machines in MiB, 0 for none", "at_least": 0, "env": "VMTASKS_REOPEN_MIB"},
    )
    heartbeat_s: float = field(
        default=60.0,
        metadata={"says": "silence before a sign of life in seconds", "at_least": 1, "env": "VMTASKS_HEARTBEAT_S"},
    )
    machine_disk_mib: int = field(
        default=64 * 1024,
        metadata={"says": "what one machine may write on the host in MiB", "at_least": 1,
                  "env": "VMTASKS_MACHINE_DISK_MIB"},
    )  # fmt: skip
    artifacts_mib: int = field(
        default=64 * 1024,
        metadata={"says": "what one run may bring out of its machines in MiB", "at_least": 1,
                  "env": "VMTASKS_ARTIFACTS_MIB"},
    )  # fmt: skip
    env_allowed: tuple[str, ...] = field(
        default=("LANG", "LC_*", "TZ", "TERM", "SOURCE_DATE_EPOCH", "DEB_BUILD_OPTIONS", "DEB_BUILD_PROFILES"),
        metadata={"says": "patterns of variables that projects may ask for", "env": "VMTASKS_ENV_ALLOWED"},
    )
    results_days: float = field(
        default=30.0,
        metadata={"says": "age of results in days, 0 for any", "at_least": 0, "env": "VMTASKS_RESULTS_DAYS"},
    )
    results_runs: int = field(
        default=100,
        metadata={"says": "runs whose results are kept, 0 for all", "at_least": 0, "env": "VMTASKS_RESULTS_RUNS"},
    )
    results_mib: int = field(
        default=4096,
        metadata={"says": "size of all results in MiB, 0 for any", "at_least": 0, "env": "VMTASKS_RESULTS_MIB"},
    )
    hosts: dict[str, ExistingHost] = field(
        default_factory=dict, metadata={"says": "for each existing host, its power and its console"}
    )

    ec2_subnet: str = field(default="", metadata={"says": "the id of a subnet", "env": "VMTASKS_EC2_SUBNET"})
    ec2_security_groups: tuple[str, ...] = field(
        default=(),
        metadata={"says": "ids of security groups", "env": "VMTASKS_EC2_SECURITY_GROUPS"},
    )
    ec2_ttl_s: float = field(
        default=4 * 3600.0,
        metadata={"says": "how long a machine may live on EC2 in seconds", "at_least": 1, "env": "VMTASKS_EC2_TTL_S"},
    )

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ, *, system: Path = SYSTEM_CONFIG) -> HostSettings:
        """Read the host's file, the user's over it, and the environment over both.

        :raise UsageError: a file or a variable does not hold what it should, or ``$VMTASKS_CONFIG`` is no file.
        """
        settings = cls()
        for path in cls.files(environ, system=system):
            settings = toml.load(cls, path, over=settings)
        settings = toml.override(settings, environ)
        settings = replace(settings, on=place(settings.on))
        if settings.snapshots_share > 1:
            message = f"snapshots_share (VMTASKS_SNAPSHOTS_SHARE) must be at most 1, not {settings.snapshots_share:g}"
            raise UsageError(f"{message}: it is the share of the free disk for templates and checkpoints")
        try:
            hours.spans(settings.eager_hours)
        except ValueError as problem:
            raise UsageError(f"eager_hours (VMTASKS_EAGER_HOURS): {problem}") from problem
        return settings

    @staticmethod
    def files(environ: Mapping[str, str] = os.environ, *, system: Path = SYSTEM_CONFIG) -> tuple[Path, ...]:
        """Return the files that there are of these settings, the one that counts most last."""
        chosen = environ.get("VMTASKS_CONFIG")
        user = Path(chosen) if chosen else _xdg(environ, "XDG_CONFIG_HOME", ".config") / "vmtasks" / "config.toml"
        return tuple(path for path in (system, user) if os.path.lexists(path) or (chosen and path == user))

    def refused(self, names: Iterable[str]) -> list[str]:
        """Return those variables of this host that are not for a project's file to ask for (``env_allowed``)."""
        return [name for name in names if not any(fnmatchcase(name, pattern) for pattern in self.env_allowed)]

    def existing(self, host: str, port: int | None) -> tuple[str, ExistingHost]:
        """Return what an existing host is called here and what there is for it; a name with its port goes first."""
        for name in (f"{host}:{port}", host):
            if name in self.hosts:
                return name, self.hosts[name]
        return host, ExistingHost()

    def ssh_argv(self) -> list[str]:
        """Return the words that call the ssh which reaches other hosts.

        :raise UsageError: it is no command line.
        """
        try:
            return shlex.split(self.ssh) or ["ssh"]
        except ValueError as problem:
            raise UsageError(f"cannot call {self.ssh!r} as ssh (VMTASKS_SSH): {problem}") from problem


def place(on: str) -> str:
    """Return where machines run, by the word of today for it: ``here`` is what ``local`` was called before 0.2."""
    if on == "here":
        events.renamed("on = here", "on = local")
        return LOCAL
    return on
