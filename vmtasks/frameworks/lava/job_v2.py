"""A multinode job of LAVA's second version, in YAML: made into a job of ours. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmtasks.config import toml
from vmtasks.config.here import page, task_line
from vmtasks.config.toml_words import described
from vmtasks.errors import UsageError
from vmtasks.frameworks.lava import actions_v2, yaml11
from vmtasks.frameworks.lava.actions_v2 import ActionLimits
from vmtasks.frameworks.lava.architectures import ARCHITECTURES, expect_fit, is_foreign
from vmtasks.frameworks.lava.definition import VARIABLE
from vmtasks.frameworks.lava.durations import seconds_at
from vmtasks.frameworks.lava.group_job import (
    BootStep,
    LavaGroupJob,
    LavaStep,
    group_job,
    known_role,
    no_image,
    not_deployed,
)
from vmtasks.frameworks.lava.keys import accepted, expect_known, list_at, mapping_at, one_of
from vmtasks.frameworks.lava.mapping import LavaMapping
from vmtasks.frameworks.lava.requests import requests
from vmtasks.group.job import GroupSettings, RoleSettings

_PROTOCOL = "lava-multinode"
_FOR_ONE = f"{task_line('lava-test-shell')} ({page('from-lava')})"
_TOP = ("job_name", "timeouts", "protocols", "actions", "metadata", "visibility")
_REFUSED = {
    "device_type": f"it is a job for one device; run its definitions with {_FOR_ONE}",
    "secrets": "give them to the tests by the environment of a role",
    "environment": "in a job with roles it belongs to each of them",
    "context": "in a job with roles it belongs to each of them",
}
_NOTED = {
    "priority": "nobody else waits in this queue",
    "notify": "who runs it learns by its exit status",
    "tags": "there is no lab with devices to choose from",
    "reboot_to_fastboot": "it is for boards",
}
_OF_A_PART = dict.fromkeys(
    ("target_group", "group_size", "sub_id", "role", "request", "expect_role"),
    "LAVA sets it in the parts of a job; give the whole job",
)
_CONNECTION = "its machine would be a guest of another member; give it a device_type of its own"
_ROLE_REFUSED = dict.fromkeys(("connection", "host_role", "expect_role", "request"), _CONNECTION) | {
    "interfaces": "members have one network of their own, without VLANs"
}
_ROLE_NOTED = {
    "tags": _NOTED["tags"],
    "timeout": "the one of protocols.lava-multinode holds for all waits of the group",
}
_CONTEXT = "the machine is as its image, and the options of `group`, have it"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Role:
    device_type: str = field(metadata={"says": "what it is"})
    count: int = field(default=1, metadata={"says": "how many machines", "at_least": 1})
    essential: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _DeviceContext:
    arch: str = field(default="", metadata={"says": "an architecture"})
    memory: int | None = field(default=None, metadata={"says": "memory in MiB", "at_least": 64})


@dataclass(slots=True, kw_only=True)
class _RoleDraft:
    """A role, while it is put together."""

    settings: _Role
    context: _DeviceContext
    environment: Mapping[str, str]
    host: str = ""
    """The existing host that stands for it."""
    image: str = ""
    kernel: str = ""
    deployed: str = ""
    """The key that has said so, for messages."""
    steps: list[LavaStep] = field(default_factory=list)


def job_of(document: Mapping[str, Any], mapping: LavaMapping, *, path: Path) -> LavaGroupJob:
    """Make a job of ours of one of LAVA's.

    :param path: the file that it is from, which messages name.
    :raise UsageError: it is no such job, or cannot be done here; the message says what is wrong with it.
    """
    notes: list[str] = []
    where = str(path)
    if _PROTOCOL not in mapping_at(document, "protocols", where):
        accepted(document, where, refused={"device_type": _REFUSED["device_type"]})
    table = accepted(document, where, refused=_REFUSED, noted=_NOTED, notes=notes)
    for key in table:
        expect_known(key, where, _TOP, what="key")
    limits, whole_s = _limits(mapping_at(table, "timeouts", where), f"{where}: timeouts")
    protocol, wait_s = _protocol(mapping_at(table, "protocols", where), f"{where}: protocols")
    place = f"{where}: protocols.{_PROTOCOL}.roles"
    members = {name: _member(one, mapping, f"{place}.{name}", notes) for name, one in protocol.items()}
    if not members:
        raise UsageError(f"{place} is missing: a group has at least one role")
    actions = list_at(table, "actions", where)
    if not actions:
        raise UsageError(f"{where}: key 'actions' is missing, or empty: there is nothing to do")
    names: set[str] = set()
    for number, action in enumerate(actions):
        place = f"{where}: actions[{number}]"
        kind = one_of(action, place, actions_v2.ACTIONS, actions_v2.REFUSED)
        _act(
            kind,
            mapping_at(action, kind, place),
            members,
            f"{place}.{kind}",
            _MultinodeContext(path, mapping, limits, notes, names),
        )
    settings = GroupSettings(timeout_s=whole_s or 0.0, wait_timeout_s=wait_s or GroupSettings().wait_timeout_s)
    return LavaGroupJob(
        name=yaml11.as_text(table.get("job_name")),
        group=group_job(settings, [_settings(name, member, where) for name, member in members.items()]),
        course={name: tuple(member.steps) for name, member in members.items()},
        environment={name: member.environment for name, member in members.items()},
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _MultinodeContext:
    path: Path
    mapping: LavaMapping
    limits: ActionLimits
    notes: list[str]
    names: set[str]
    """Of the definitions so far."""


def _limits(table: Mapping[str, Any], where: str) -> tuple[ActionLimits, float | None]:
    """Return the limits of tests, and that of the whole job."""
    for key in table:
        expect_known(key, where, ("job", "action", "actions", "connection", "connections", "queue"), what="key")
    actions = mapping_at(table, "actions", where)
    limits = {name: seconds_at(actions, name, f"{where}.actions") for name in actions}
    action_s = seconds_at(table, "action", where)
    return ActionLimits(shell_s=limits.get("lava-test-shell") or action_s), seconds_at(table, "job", where)


def _protocol(table: Mapping[str, Any], where: str) -> tuple[dict[str, Any], float | None]:
    """Return the roles, and the limit of each wait."""
    if _PROTOCOL not in table:
        raise UsageError(
            f"{where} has no {_PROTOCOL}: only jobs with roles are groups",
            hint=f"run the definitions of a job for one device with {_FOR_ONE}",
        )
    for key in table:
        expect_known(
            key,
            where,
            (_PROTOCOL,),
            {"lava-lxc": "there are no containers", "lava-xnbd": "a machine has its own disk"},
            what="protocol",
        )
    where = f"{where}.{_PROTOCOL}"
    found = accepted(mapping_at(table, _PROTOCOL, where), where, refused=_OF_A_PART)
    for key in found:
        expect_known(key, where, ("roles", "timeout"), what="key")
    return mapping_at(found, "roles", where), seconds_at(found, "timeout", where)


def _member(table: object, mapping: LavaMapping, where: str, notes: list[str]) -> _RoleDraft:
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a mapping, not {described(table)}")
    rest = accepted(table, where, refused=_ROLE_REFUSED, noted=_ROLE_NOTED, notes=notes)
    environment = mapping_at(rest, "environment", where)
    if wrong := [name for name in environment if not VARIABLE.fullmatch(name)]:
        raise UsageError(f"{where}.environment: '{wrong[0]}' cannot be a variable of the shell")
    host = mapping.host(yaml11.as_text(rest.get("device_type")), where=f"{where}.device_type")
    context = _context(mapping_at(rest, "context", where), f"{where}.context", notes, host=host)
    kept = {key: value for key, value in rest.items() if key not in ("context", "environment")}
    return _RoleDraft(
        settings=toml.parse(_Role, kept, where=where),
        context=context,
        environment={name: yaml11.as_text(value) for name, value in environment.items()},
        host=host,
    )


def _context(table: Mapping[str, Any], where: str, notes: list[str], *, host: str) -> _DeviceContext:
    """Return what a context asks for.

    :raise UsageError: it asks for a machine that cannot be here.
    """
    if host:
        accepted(table, where, noted=dict.fromkeys(table, f"{host} is what it is"), notes=notes)
        return _DeviceContext()
    arch = table.get("arch", "amd64")
    if not isinstance(arch, str) or (is_foreign(arch) and arch not in ARCHITECTURES):
        raise UsageError(f"{where}: key 'arch' cannot be '{arch}': there is no image of that architecture yet")
    expect_known(arch, f"{where}: key 'arch'", ARCHITECTURES, what="architecture")
    others = [key for key in table if key not in ("arch", "memory")]
    accepted(table, where, noted=dict.fromkeys(others, _CONTEXT), notes=notes)
    kept = {key: value for key, value in table.items() if key not in others}
    return toml.parse(_DeviceContext, kept, where=where)


def _settings(name: str, member: _RoleDraft, where: str) -> RoleSettings:
    if member.host:
        return RoleSettings(name=name, on=member.host, count=member.settings.count, essential=member.settings.essential)
    if not member.image:
        raise no_image(
            name,
            where=where,
            hint="deploy: {role: [ROLE], to: tmpfs, images: {rootfs: {url: URL}}} gives it one",
        )
    return RoleSettings(
        name=name,
        image=member.image,
        kernel=member.kernel,
        count=member.settings.count,
        memory_mib=member.context.memory,
        essential=member.settings.essential,
    )


def _act(
    kind: str, table: dict[str, Any], members: Mapping[str, _RoleDraft], where: str, context: _MultinodeContext
) -> None:
    """Have an action done by those that it is for.

    :raise UsageError: it cannot be done here.
    """
    rest = dict(table)
    names = _roles(rest.pop("role", None), tuple(members), where)
    calls = requests(mapping_at(rest, "protocols", where), where)
    rest.pop("protocols", None)
    for name in names:
        members[name].steps += calls
    hosts = [name for name in names if members[name].host]
    if kind == "deploy":
        context.notes.extend(not_deployed(where, name, members[name].host) for name in hosts)
        if hosts == names:  # whatever a lab would deploy there
            return
        deployed = actions_v2.deploy(rest, where, context.notes)
        for name in (one for one in names if one not in hosts):
            member = members[name]
            if member.deployed:
                raise UsageError(
                    f"{where}: the role '{name}' has an image from {member.deployed} already: its machines start once"
                )
            device = member.settings.device_type
            member.image = context.mapping.image(deployed.rootfs, device=device, where=deployed.where)
            expect_fit(member.image, member.context.arch, where=deployed.where)
            if deployed.kernel:
                member.kernel = context.mapping.kernel(
                    deployed.kernel, image=member.image, where=f"{where}.images.kernel.url"
                )
            member.deployed = where.partition(": ")[2]
        return
    step: LavaStep
    if kind == "boot":
        if hosts != names:
            actions_v2.boot(rest, where)
        step = BootStep()
    else:
        step = actions_v2.test(
            rest,
            where,
            context.mapping,
            path=context.path,
            limits=context.limits,
            names=context.names,
            notes=context.notes,
        )
    for name in names:
        members[name].steps.append(step)


def _roles(given: object, known: Sequence[str], where: str) -> list[str]:
    """Return the roles that an action is for.

    :raise UsageError: it says none, or one that no member has.
    """
    roles = [given] if isinstance(given, str) else given
    if not isinstance(roles, list) or not roles:
        raise UsageError(f"{where}: key 'role' is missing; it must be a list of roles, of {', '.join(known)}")
    return list(dict.fromkeys(known_role(yaml11.as_text(one), known, where=f"{where}.role") for one in roles))
