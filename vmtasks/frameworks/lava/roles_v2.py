"""Who is in a job of LAVA's second version: its roles, or the one device that it is for. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vmtasks.config import toml
from vmtasks.config.toml_words import described
from vmtasks.errors import UsageError
from vmtasks.frameworks.lava import yaml11
from vmtasks.frameworks.lava.architectures import ARCHITECTURES, is_foreign
from vmtasks.frameworks.lava.definition import VARIABLE
from vmtasks.frameworks.lava.durations import seconds_at
from vmtasks.frameworks.lava.group_job import LavaStep, no_image
from vmtasks.frameworks.lava.keys import accepted, expect_known, mapping_at
from vmtasks.frameworks.lava.mapping import LavaMapping
from vmtasks.group.job import RoleSettings

_PROTOCOL = "lava-multinode"
DEVICE = "device"
"""The role of the machine of a job for one device."""
NO_LAB = "there is no lab with devices to choose from"
_TOP = ("job_name", "timeouts", "protocols", "actions", "metadata", "visibility")
_OF_A_DEVICE = ("device_type", "context", "environment")
_REFUSED_WITH_ROLES = dict.fromkeys(_OF_A_DEVICE, "in a job with roles it belongs to each of them")
_OF_A_PART = dict.fromkeys(
    ("target_group", "group_size", "sub_id", "role", "request", "expect_role"),
    "LAVA sets it in the parts of a job; give the whole job",
)
_CONNECTION = "its machine would be a guest of another member; give it a device_type of its own"
_ROLE_REFUSED = dict.fromkeys(("connection", "host_role", "expect_role", "request"), _CONNECTION) | {
    "interfaces": "members have one network of their own, without VLANs"
}
_ROLE_NOTED = {
    "tags": NO_LAB,
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
class RoleDraft:
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


def roles_of(
    table: Mapping[str, Any], mapping: LavaMapping, where: str, notes: list[str]
) -> tuple[dict[str, RoleDraft], float | None]:
    """Return the roles by their names, and the limit of each wait in seconds, if the job says one.

    :param table: the job, without the keys that count for nothing.
    :raise UsageError: it has none, or some that cannot be here.
    """
    protocols = _protocols(table, where)
    if _PROTOCOL not in protocols:
        for key in table:
            expect_known(key, where, (*_TOP, *_OF_A_DEVICE), what="key")
        if "device_type" not in table:
            raise UsageError(f"{where} has neither roles, in protocols.{_PROTOCOL}, nor a device_type")
        device = {key: table[key] for key in _OF_A_DEVICE if key in table} | {"essential": True}
        return {DEVICE: _member(device, mapping, where, notes, keys=f"{where}: ")}, None
    accepted(table, where, refused=_REFUSED_WITH_ROLES)
    for key in table:
        expect_known(key, where, _TOP, what="key")
    where = f"{where}: protocols.{_PROTOCOL}"
    found = accepted(mapping_at(protocols, _PROTOCOL, where), where, refused=_OF_A_PART)
    for key in found:
        expect_known(key, where, ("roles", "timeout"), what="key")
    wait_s = seconds_at(found, "timeout", where)
    roles = mapping_at(found, "roles", where)
    if not roles:
        raise UsageError(f"{where}.roles is missing: a group has at least one role")
    where = f"{where}.roles"
    members = {
        name: _member(one, mapping, f"{where}.{name}", notes, keys=f"{where}.{name}.") for name, one in roles.items()
    }
    return members, wait_s


def _protocols(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    protocols = mapping_at(table, "protocols", where)
    for key in protocols:
        expect_known(
            key,
            f"{where}: protocols",
            (_PROTOCOL,),
            {"lava-lxc": "there are no containers", "lava-xnbd": "a machine has its own disk"},
            what="protocol",
        )
    return protocols


def _member(table: object, mapping: LavaMapping, where: str, notes: list[str], *, keys: str) -> RoleDraft:
    """Return a role.

    :param keys: what messages begin with that name one of its keys.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a mapping, not {described(table)}")
    rest = accepted(table, where, refused=_ROLE_REFUSED, noted=_ROLE_NOTED, notes=notes)
    environment = mapping_at(rest, "environment", where)
    if wrong := [name for name in environment if not VARIABLE.fullmatch(name)]:
        raise UsageError(f"{keys}environment: '{wrong[0]}' cannot be a variable of the shell")
    host = mapping.host(yaml11.as_text(rest.get("device_type")), where=f"{keys}device_type")
    context = _context(mapping_at(rest, "context", where), f"{keys}context", notes, host=host)
    kept = {key: value for key, value in rest.items() if key not in ("context", "environment")}
    return RoleDraft(
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


def settings_of(name: str, member: RoleDraft, where: str) -> RoleSettings:
    """Return what becomes of a role when all actions are read.

    :raise UsageError: nothing has given it an image.
    """
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
