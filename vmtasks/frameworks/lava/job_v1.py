"""A job of LAVA's first version, in JSON, with a ``vm_group``: made into a job of ours. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vmtasks.config import toml
from vmtasks.config.here import page
from vmtasks.errors import UsageError
from vmtasks.frameworks.lava import actions_v1
from vmtasks.frameworks.lava.actions_v1 import MachineImage
from vmtasks.frameworks.lava.durations import LONGEST_S
from vmtasks.frameworks.lava.group_job import (
    BootStep,
    LavaGroupJob,
    LavaStep,
    ShellStep,
    group_job,
    known_role,
    no_image,
    not_deployed,
    times,
)
from vmtasks.frameworks.lava.keys import accepted, expect_known, list_at, mapping_at
from vmtasks.frameworks.lava.mapping import LavaMapping
from vmtasks.group.job import GroupSettings, RoleSettings

_LEVELS = Literal["CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"]
_OTHER_JOBS = dict.fromkeys(
    ("target", "device_type", "device_group"),
    f"it is a job without virtual machines; describe its machines as a vm_group, or as roles ({page('groups')})",
)
_OF_A_PART = dict.fromkeys(
    ("group_size", "role", "sub_id", "target_group", "is_vmhost"),
    "LAVA sets it in the parts of a job; give the whole job",
)
_NOTED = {
    "priority": "nobody else waits in this queue",
    "tags": "there is no lab with devices to choose from",
    "health_check": "there is no lab whose health it could check",
}
_LAUNCH_WITH = "a machine is started by vmtasks beside its host, and by no commands on it; leave the key out"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    device_type: str = field(metadata={"says": "what it is"})
    role: str = field(metadata={"says": "what its tests are called by"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vm:
    device_type: str = field(metadata={"says": "what it is"})
    role: str = field(metadata={"says": "what its tests are called by"})
    count: int = field(default=1, metadata={"says": "how many machines", "at_least": 1})
    image: str | None = field(default=None, metadata={"says": "the URL of an image"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _VmGroup:
    host: _Host
    vms: tuple[_Vm, ...]
    auto_start_vms: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    timeout: int = field(metadata={"says": "limit of each action in seconds", "at_least": 1})
    vm_group: _VmGroup
    job_name: str = ""
    logging_level: _LEVELS = "INFO"


@dataclass(slots=True, kw_only=True)
class _VmRole:
    """A role, while it is put together."""

    device: str
    count: int
    steps: list[LavaStep] = field(default_factory=list)
    host: str = ""
    """The existing host that stands for it."""
    image: MachineImage | None = None


def job_of(document: Mapping[str, Any], mapping: LavaMapping, *, path: Path) -> LavaGroupJob:
    """Make a job of ours of one of LAVA's.

    :param path: the file that it is from, which messages name.
    :raise UsageError: it is no such job, or cannot be done here; the message says what is wrong with it.
    """
    notes: list[str] = []
    where = str(path)
    table = accepted(document, where, refused=_OTHER_JOBS | _OF_A_PART, noted=_NOTED, notes=notes)
    actions = list_at(table, "actions", where)
    if "actions" not in table:
        raise UsageError(f"{where}: key 'actions' is missing; it must be a list of what is done")
    del table["actions"]
    if "vm_group" in table:
        table["vm_group"] = _vm_group(mapping_at(table, "vm_group", where), f"{where}: vm_group", notes)
    job = toml.parse(_Job, table, where=where)
    group, timeout_s = job.vm_group, min(job.timeout, LONGEST_S)
    members = {group.host.role: _VmRole(device=group.host.device_type, count=1)}
    for number, vm in enumerate(group.vms):
        place = f"{where}: vm_group.vms[{number}]"
        if vm.role in members:
            other = "the host" if vm.role == group.host.role else "another of them"
            raise UsageError(f"{place} has the role '{vm.role}', and so has {other}; count makes several of one")
        image = None
        if vm.image is not None:
            url = actions_v1.named_url(vm.image, f"{place}: key 'image'")
            image = MachineImage(url=url, where=f"{place}.image")
        members[vm.role] = _VmRole(device=vm.device_type, count=vm.count, image=image)
    for member in members.values():
        member.host = mapping.host(member.device, where=f"{where}: vm_group")
    for number, action in enumerate(actions):
        _act(action, members, f"{where}: actions[{number}]", _VmGroupContext(path, mapping, timeout_s, notes))
    roles = [_role(name, member, mapping, where, notes) for name, member in members.items()]
    return LavaGroupJob(
        name=job.job_name,
        group=group_job(GroupSettings(wait_timeout_s=float(timeout_s)), roles),
        course={name: tuple(member.steps) for name, member in members.items()},
        host_role=group.host.role,
        auto_start=group.auto_start_vms,
        goes_on=True,
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _VmGroupContext:
    path: Path
    mapping: LavaMapping
    timeout_s: int
    notes: list[str]


def _vm_group(table: Mapping[str, Any], where: str, notes: list[str]) -> dict[str, Any]:
    """Return the group without what counts for nothing."""
    found = dict(table)
    vms = list_at(found, "vms", where)
    if not all(isinstance(vm, dict) for vm in vms):
        raise UsageError(f"{where}: key 'vms' must be a list of mappings")
    noted = {"tags": _NOTED["tags"], "shell_prompt": "commands go over ssh, which needs no prompt"}
    found["vms"] = [
        accepted(
            vm, f"{where}.vms[{number}]", refused={"launch_with": _LAUNCH_WITH}, noted=noted, notes=notes
        )
        for number, vm in enumerate(vms)
    ]  # fmt: skip
    return found


def _role(name: str, member: _VmRole, mapping: LavaMapping, where: str, notes: list[str]) -> RoleSettings:
    """Return a role of ours.

    :raise UsageError: it has no image, or none stands for it here.
    """
    image = member.image
    if member.host:
        if image is not None:
            notes.append(not_deployed(image.where, name, member.host))
        return RoleSettings(name=name, on=member.host, count=member.count)
    if image is None:
        raise no_image(
            name,
            where=where,
            hint='{"command": "deploy_linaro_image", "parameters": {"image": URL, "role": ROLE}} gives it one',
        )
    ours = mapping.image(image.url, device=member.device, where=image.where)
    kernel = mapping.kernel(image.kernel, image=ours, where=f"{image.where}.kernel") if image.kernel else ""
    return RoleSettings(
        name=name,
        image=ours,
        count=member.count,
        kernel=kernel,
    )


def _act(action: object, members: Mapping[str, _VmRole], where: str, context: _VmGroupContext) -> None:
    """Have an action done by those that it is for.

    :raise UsageError: it is unknown, or cannot be done here.
    """
    if not isinstance(action, dict):
        raise UsageError(f"{where} must be a mapping with the key 'command'")
    for key in action:
        expect_known(key, where, ("command", "parameters", "metadata"), what="key")
    if "command" not in action:
        raise UsageError(f"{where}: key 'command' is missing; it must be a text")
    command = action["command"]
    expect_known(command, where, _ACTIONS, actions_v1.REFUSED, what="command")
    parameters = dict(mapping_at(action, "parameters", where))
    where = f"{where}.parameters"
    names = [*members]
    if "role" in parameters and command not in _OF_NO_ROLE:
        role = parameters.pop("role")
        if not isinstance(role, str):
            raise UsageError(
                f"{where}: key 'role' must be a text: an action is for one role, or for all without the key"
            )
        names = [known_role(role, names, where=f"{where}.role")]
    repeat = parameters.pop("repeat", 1) if command in _CAN_BE_REPEATED else 1
    if type(repeat) is not int:
        raise UsageError(f"{where}: key 'repeat' must be a whole number (how often it is done)")
    found = _ACTIONS[command](parameters, where, context)
    for name in names:
        member = members[name]
        if isinstance(found, MachineImage):
            _deploy(member, found, name)
        elif found is not None:
            member.steps += [found] * times(repeat, where=f"{where}: key 'repeat'")


def _deploy(member: _VmRole, image: MachineImage, name: str) -> None:
    """Have a role's image be what an action says.

    :raise UsageError: another has said something else.
    """
    before = member.image
    if before is not None and (before.url, before.kernel) != (image.url, image.kernel):
        raise UsageError(
            f"{image.where}: the role '{name}' has an image from {before.where.partition(': ')[2]} already: its "
            "machines start once, from one image"
        )
    member.image = image


def _shell(parameters: Mapping[str, Any], where: str, context: _VmGroupContext) -> ShellStep:
    return actions_v1.shell(parameters, where, context.mapping, timeout_s=context.timeout_s)


def _commands(parameters: Mapping[str, Any], where: str, context: _VmGroupContext) -> ShellStep:
    return actions_v1.commands(parameters, where, path=context.path, timeout_s=context.timeout_s)


def _boot(parameters: Mapping[str, Any], where: str, context: _VmGroupContext) -> BootStep:
    return actions_v1.boot(parameters, where, context.notes)


def _image(parameters: Mapping[str, Any], where: str, context: _VmGroupContext) -> MachineImage:
    return actions_v1.deploy_image(parameters, where, context.notes)


def _kernel(parameters: Mapping[str, Any], where: str, context: _VmGroupContext) -> MachineImage:
    return actions_v1.deploy_kernel(parameters, where, context.notes)


def _submit(parameters: Mapping[str, Any], where: str, context: _VmGroupContext) -> None:
    actions_v1.submit(parameters, where, context.notes)


_ACTIONS: Mapping[str, Callable[[Mapping[str, Any], str, _VmGroupContext], LavaStep | MachineImage | None]] = {
    "deploy_linaro_image": _image,
    "deploy_image": _image,
    "deploy_linaro_kernel": _kernel,
    "deploy_kernel": _kernel,
    "boot_linaro_image": _boot,
    "boot_image": _boot,
    "lava_test_shell": _shell,
    "lava_command_run": _commands,
    "submit_results": _submit,
    "submit_results_on_host": _submit,
}
_OF_NO_ROLE = ("submit_results", "submit_results_on_host")
_CAN_BE_REPEATED = ("boot_linaro_image", "boot_image", "lava_test_shell")
