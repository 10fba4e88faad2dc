"""A group described in a file: who is in it, and what is run in whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vmtasks.config import toml
from vmtasks.config.here import page
from vmtasks.errors import UsageError, did_you_mean
from vmtasks.group.roles import HOST, Role, as_roles, members_of
from vmtasks.providers.preparation import Preparation
from vmtasks.spec import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """What holds for all members."""

    network: Network | None = field(default=None, metadata={"says": "what members reach beside each other"})
    test_timeout_s: float = field(default=3600.0, metadata={"says": "limit of each test in seconds", "at_least": 1})
    wait_timeout_s: float = field(
        default=900.0, metadata={"says": "how long a message may be waited for, in seconds", "at_least": 0.1}
    )
    timeout_s: float = field(
        default=0.0, metadata={"says": "limit of the whole group in seconds, 0 for none", "at_least": 0}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSettings:
    """A role; what is not there is as the image has it."""

    name: str = field(metadata={"says": "what its machines are called"})
    image: str = field(default="", metadata={"says": "the name of an image"})
    on: str = field(default="", metadata={"says": "an existing host, ssh://HOST"})
    count: int = field(default=1, metadata={"says": "how many machines", "at_least": 1})
    memory_mib: int | None = field(default=None, metadata={"says": "memory in MiB", "at_least": 64})
    cpus: int | None = field(default=None, metadata={"says": "virtual processors", "at_least": 1})
    kernel: str = field(default="", metadata={"says": "another kernel, as --kernel names it"})
    network: Network | None = field(default=None, metadata={"says": "what its machines reach beside the others"})
    essential: bool = field(default=True, metadata={"says": "whether the group ends when one of its machines dies"})
    packages: tuple[str, ...] = field(default=(), metadata={"says": "Debian packages"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TestSettings:
    """A test: what is run in each member of its roles, or on the host."""

    __test__ = False  # not a test class, whatever pytest makes of the name

    name: str = field(metadata={"says": "what it is called in the results"})
    run: str = field(metadata={"says": "lines for /bin/sh, of which the last one's status counts, or that of `set -e`"})
    roles: tuple[str, ...] = field(default=(), metadata={"says": "roles, or host; all members by default"})
    user: str = field(default="root", metadata={"says": "who runs it in a member"})
    timeout_s: float | None = field(default=None, metadata={"says": "limit in seconds", "at_least": 1})
    env: dict[str, str] = field(default_factory=dict, metadata={"says": "its environment"})

    def is_for(self, role: str) -> bool:
        """Tell whether members of *role* run it."""
        return role in self.roles or (not self.roles and role != HOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupJob:
    """A whole file."""

    group: GroupSettings = field(default_factory=GroupSettings)
    roles: tuple[RoleSettings, ...]
    tests: tuple[TestSettings, ...]

    @classmethod
    def load(cls, path: Path) -> GroupJob:
        """Read a file.

        :raise UsageError: it cannot be read, or describes no group that can be.
        """
        job = toml.load(cls, path)
        try:
            if any(role.name == HOST for role in job.roles):
                raise UsageError(f"cannot have a role '{HOST}': tests of that name run on this host")
            job.check()
        except UsageError as problem:
            raise UsageError(f"{path}: {problem}", hint=problem.hint) from problem
        return job

    def as_roles(self) -> dict[str, Role]:
        """Return its roles as :func:`vmtasks.boot_group` takes them."""
        return {
            role.name: Role(
                image=role.image,
                on=role.on,
                count=role.count,
                memory_mib=role.memory_mib,
                cpus=role.cpus,
                kernel=role.kernel,
                network=role.network or (None if role.on else self.group.network),
                essential=role.essential,
                prepare=Preparation.of_packages(role.packages),
            )
            for role in self.roles
        }

    def tests_of(self, role: str) -> list[TestSettings]:
        """Return what members of a role run, in their order."""
        return [test for test in self.tests if test.is_for(role)]

    def check(self) -> None:
        """Refuse what each part may be, but not all of them together.

        :raise UsageError: it describes no group that can be.
        """
        names = [role.name for role in self.roles]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"two of [[roles]] are called '{name}'", hint="count makes several machines of one")
        members_of(as_roles(self.as_roles()))
        for one in self.roles:
            reach = one.network or self.group.network
            if one.packages and not one.on and reach in ("none", "restricted"):
                raise UsageError(
                    f"role '{one.name}' cannot install packages: its network is '{reach}'",
                    hint=f'have them in an image of your own ({page("images")}), or give the role network = "user"',
                )
        titles = [test.name for test in self.tests]
        for test in self.tests:
            if titles.count(test.name) > 1:
                raise UsageError(f"two of [[tests]] are called '{test.name}': their results could not be told apart")
            for role in test.roles:
                if role not in (*names, HOST):
                    more = did_you_mean(role, (*names, HOST), otherwise=f"there are {', '.join(names)}")
                    raise UsageError(f"test '{test.name}' is for the role '{role}', which no machine has; {more}")
            if not test.run.strip():
                raise UsageError(f"test '{test.name}' runs nothing")
