"""A job of LAVA's for a group of machines, as a value: who is in it, and what each runs, in its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vmtasks.errors import UsageError, did_you_mean
from vmtasks.frameworks.lava.definition import TestDefinition
from vmtasks.frameworks.lava.mapping import LavaMapping
from vmtasks.group.coordinator import Verb
from vmtasks.group.job import GroupJob, GroupSettings, RoleSettings

MOST_TIMES = 1000
"""How often a job may have one thing done again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionSource:
    """Where a definition is, and what the job has of it otherwise; :mod:`.sources` makes a definition."""

    where: str
    """The file and the key of the job, for messages."""
    definition: TestDefinition | None = None
    """The definition itself, where it is part of the job."""
    file: Path | None = None
    """Its file; below *repository*, if there is one."""
    repository: Path | None = None
    """The files that go along."""
    revision: str = ""
    """Of the repository, if not what lies there."""
    name: str = ""
    """What the job calls it."""
    params: Mapping[str, str] = field(default_factory=dict)
    skip_install: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellStep:
    """A lava-test-shell: definitions, one after the other."""

    sources: tuple[DefinitionSource, ...]
    timeout_s: float | None = None
    is_of_commands: bool = False
    """Whether it is a lava_command_run, for which a host does not wait until its guests have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootStep:
    """A boot: the first of a machine has been, any other is a reboot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStep:
    """A message that is sent or waited for in the name of each member, before its next action."""

    verb: Verb
    id: str
    pairs: Mapping[str, str] = field(default_factory=dict)
    role: str = ""
    timeout_s: float | None = None


LavaStep = ShellStep | BootStep | CallStep


@dataclass(frozen=True, slots=True, kw_only=True)
class LavaGroupJob:
    """A whole job."""

    name: str
    group: GroupJob
    """Its machines, without tests of ours."""
    course: Mapping[str, tuple[LavaStep, ...]]
    """What the members of each role do."""
    host_role: str = ""
    """The role of the machine that the others are guests of, in LAVA's first version."""
    auto_start: bool = True
    """Whether the others begin at once, and not when the host's tests call lava-start-vms."""
    goes_on: bool = False
    """Whether a member goes on when its tests have exceeded their limit."""
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Variables of the tests, by role."""
    mapping: LavaMapping = field(default_factory=LavaMapping)
    """What stands here for what its definitions name."""
    notes: tuple[str, ...] = ()
    """What of the job counts for nothing here, for the user."""

    def __post_init__(self) -> None:
        self.group.check()


def group_job(settings: GroupSettings, roles: Sequence[RoleSettings]) -> GroupJob:
    """Return the machines of a job."""
    return GroupJob(group=settings, roles=tuple(roles), tests=())


def no_image(role: str, *, where: str, hint: str) -> UsageError:
    """Return the error for a role that no deploy action gives an image.

    :param hint: what such an action looks like in that form of job.
    """
    return UsageError(f"{where}: the role '{role}' has no image: no deploy action is for it", hint=hint)


def not_deployed(where: str, role: str, host: str) -> str:
    """Return the note on a deploy action for an existing host."""
    return f"{where}: nothing is deployed to the role '{role}': {host} stands for it, and is used as it is"


def known_role(role: str, roles: Sequence[str], *, where: str) -> str:
    """Return a role of an action.

    :raise UsageError: no member has it.
    """
    if role not in roles:
        more = did_you_mean(role, roles, otherwise=f"there are {', '.join(roles)}")
        raise UsageError(f"{where}: no machine of the group has the role '{role}'; {more}")
    return role


def times(number: int, *, where: str) -> int:
    """Return how often something is done.

    :raise UsageError: it is too often, or never.
    """
    if not 1 <= number <= MOST_TIMES:
        raise UsageError(f"{where} must be a whole number from 1 to {MOST_TIMES}, not the number {number}")
    return number
