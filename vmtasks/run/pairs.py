"""``--pairs``: the hosts of ``--on`` two by two, for recipes whose two machines are a server and a client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vmtasks.errors import UsageError

if TYPE_CHECKING:
    from vmtasks.group.roles import GroupMember
    from vmtasks.providers.base import MachineRequest

_EXISTING = "ssh://"


def pairs_of(hosts: Sequence[str]) -> list[str]:
    """Return hosts two by two, in their order: each pair as ``--on`` names it.

    :raise UsageError: one has no partner, or is no existing host: no other machine is reached from a second host.
    """
    if not hosts:
        raise UsageError(
            "--pairs needs hosts, and --on names none", hint="name two, or four …: --on ssh://SERVER,ssh://CLIENT"
        )
    if other := next((one for one in hosts if not one.startswith(_EXISTING)), None):
        raise UsageError(
            f"--pairs is for existing hosts, and {other} is none",
            hint="name each as ssh://HOST; without --pairs, both machines are clean ones on one host",
        )
    if len(hosts) % 2:
        raise UsageError(
            f"--pairs needs an even number of hosts, and --on names {len(hosts)}: {hosts[-1]} has no partner",
            hint=f"name another host, or leave {hosts[-1]} out",
        )
    return [f"{server},{client}" for server, client in zip(hosts[::2], hosts[1::2], strict=True)]


def on_pair(requests: Mapping[GroupMember, MachineRequest], pair: Sequence[str]) -> dict[GroupMember, MachineRequest]:
    """Return the requests of a group whose members are the hosts of a pair, in the order of its roles.

    Members whose roles say on which host they are stay there.

    :raise UsageError: the others are not two machines that a host can stand for.
    """
    free = [member for member in requests if not member.on]
    if free and len(free) != len(pair):
        raise UsageError(
            f"cannot have this group on a pair of hosts: of its machines, {len(free)} would be one, and not 2",
            hint="call the recipe without --pairs",
        )
    if not all(isinstance(requests[member].image, str) for member in free):
        raise UsageError("cannot have this group on a pair of hosts: a checkpoint starts where it was made")
    host_of = dict(zip(free, pair, strict=True)) if free else {}
    return {
        replace(member, on=host_of.get(member, member.on)): _at(request, host_of.get(member, ""))
        for member, request in requests.items()
    }


def _at(request: MachineRequest, host: str) -> MachineRequest:
    return replace(request, options=replace(request.options, on=host)) if host else request
