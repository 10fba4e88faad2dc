"""A job of LAVA's second version, in YAML: made into a job of ours. Pure functions.

A job for one device is one with a single role, :data:`~vmtasks.frameworks.lava.roles_v2.DEVICE`, that no action names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmtasks.errors import UsageError
from vmtasks.frameworks.lava import actions_v2, yaml11
from vmtasks.frameworks.lava.actions_v2 import ActionLimits
from vmtasks.frameworks.lava.architectures import expect_fit
from vmtasks.frameworks.lava.durations import seconds_at
from vmtasks.frameworks.lava.group_job import (
    BootStep,
    LavaGroupJob,
    LavaStep,
    group_job,
    known_role,
    not_deployed,
)
from vmtasks.frameworks.lava.keys import accepted, expect_known, list_at, mapping_at, one_of
from vmtasks.frameworks.lava.mapping import LavaMapping
from vmtasks.frameworks.lava.requests import requests
from vmtasks.frameworks.lava.roles_v2 import DEVICE, NO_LAB, RoleDraft, roles_of, settings_of
from vmtasks.group.job import GroupSettings

_REFUSED = {"secrets": "give them to the tests by 'environment'"}
_NOTED = {
    "priority": "nobody else waits in this queue",
    "notify": "who runs it learns by its exit status",
    "tags": NO_LAB,
    "reboot_to_fastboot": "it is for boards",
}


def job_of(document: Mapping[str, Any], mapping: LavaMapping, *, path: Path) -> LavaGroupJob:
    """Make a job of ours of one of LAVA's.

    :param path: the file that it is from, which messages name.
    :raise UsageError: it is no such job, or cannot be done here; the message says what is wrong with it.
    """
    notes: list[str] = []
    where = str(path)
    table = accepted(document, where, refused=_REFUSED, noted=_NOTED, notes=notes)
    limits, whole_s = _limits(mapping_at(table, "timeouts", where), f"{where}: timeouts")
    members, wait_s = roles_of(table, mapping, where, notes)
    actions = list_at(table, "actions", where)
    if not actions:
        raise UsageError(f"{where}: key 'actions' is missing, or empty: there is nothing to do")
    context = _JobContext(path, mapping, limits, notes, set(), DEVICE if "device_type" in table else "")
    for number, action in enumerate(actions):
        place = f"{where}: actions[{number}]"
        kind = one_of(action, place, actions_v2.ACTIONS, actions_v2.REFUSED)
        _act(kind, mapping_at(action, kind, place), members, f"{place}.{kind}", context)
    settings = GroupSettings(timeout_s=whole_s or 0.0, wait_timeout_s=wait_s or GroupSettings().wait_timeout_s)
    return LavaGroupJob(
        name=yaml11.as_text(table.get("job_name")),
        group=group_job(settings, [settings_of(name, member, where) for name, member in members.items()]),
        course={name: tuple(member.steps) for name, member in members.items()},
        environment={name: member.environment for name, member in members.items()},
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _JobContext:
    path: Path
    mapping: LavaMapping
    limits: ActionLimits
    notes: list[str]
    names: set[str]
    """Of the definitions so far."""
    role: str
    """The one of an action that names none; empty: each has to."""


def _limits(table: Mapping[str, Any], where: str) -> tuple[ActionLimits, float | None]:
    """Return the limits of tests, and that of the whole job."""
    for key in table:
        expect_known(key, where, ("job", "action", "actions", "connection", "connections", "queue"), what="key")
    actions = mapping_at(table, "actions", where)
    limits = {name: seconds_at(actions, name, f"{where}.actions") for name in actions}
    action_s = seconds_at(table, "action", where)
    return ActionLimits(shell_s=limits.get("lava-test-shell") or action_s), seconds_at(table, "job", where)


def _act(kind: str, table: dict[str, Any], members: Mapping[str, RoleDraft], where: str, context: _JobContext) -> None:
    """Have an action done by those that it is for.

    :raise UsageError: it cannot be done here.
    """
    rest = dict(table)
    names = _roles(rest.pop("role", context.role or None), tuple(members), where)
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
