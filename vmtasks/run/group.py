"""A group of machines for a run: what is asked of a provider for each member, and a look at one where it failed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from vmtasks.errors import TestFailed, TimedOut, UsageError, VmtasksError
from vmtasks.group.boot import group_of
from vmtasks.group.roles import Role, as_roles, members_of, options_of
from vmtasks.providers.base import BootOptions
from vmtasks.providers.boot import command_line, settled_group
from vmtasks.run.options import network
from vmtasks.run.pairs import on_pair
from vmtasks.ssh import secret

if TYPE_CHECKING:
    from pathlib import Path

    from vmtasks.group.group import Group
    from vmtasks.guest import Guest
    from vmtasks.guest.allowance import Allowance
    from vmtasks.project import Project
    from vmtasks.providers.base import MachineRequest
    from vmtasks.providers.choice import Choices
    from vmtasks.run.options import RecipeOptions


@contextmanager
def group_in(
    roles: Mapping[str, Role | str],
    *,
    flags: RecipeOptions,
    directory: Path,
    request: Callable[[str, Role], MachineRequest],
    choices: Choices,
    debug: Callable[[Guest, VmtasksError], None],
    allowance: Allowance,
    wait_timeout_s: float,
    timeout_s: float,
    project: Project | None,
) -> Iterator[Group]:
    """Yield a group for a run; see :meth:`vmtasks.run.run.Run.group`.

    :param request: returns what is asked of a provider for a machine of that name and role.
    :param choices: what the run has chosen, where ``--on`` leaves a choice.
    :param debug: gives the user a look at a machine, where that was asked for.
    :param allowance: what all machines of the run may bring out together.
    """
    full = as_roles(roles)
    secrets = secret.values(project.commands.env_from if project else ())
    asked = {one: _over_role(request(one.name, full[one.role]), full[one.role], flags) for one in members_of(full)}
    if flags.pair:
        asked = on_pair(asked, flags.pair)
    requests = settled_group(asked, choices)
    if flags.dry_run:
        for member, one in requests.items():
            line = f"# {member.name}: {member.on}, which runs already" if member.on else shlex.join(command_line(one))
            sys.stdout.write(f"{line}\n")
        raise Exit(code=0)

    def on_guest(guest: Guest) -> None:
        guest.mask(secrets.values())
        guest.timeout_s = project.commands.timeout_s if project else None
        guest.share(allowance)

    with group_of(
        requests, wait_timeout_s=wait_timeout_s, timeout_s=timeout_s, log_dir=directory, on_guest=on_guest
    ) as group:
        try:
            with ExitStack() as profiles:
                for guest in group.guests() if flags.profile else ():
                    profiles.enter_context(guest.profiled())
                yield group
        except (TestFailed, TimedOut, UsageError) as problem:
            debug(group.blamed(problem), problem)
            raise


def _over_role(request: MachineRequest, role: Role, flags: RecipeOptions) -> MachineRequest:
    """Return a request in which flags go over the role, and the role over the project's file."""
    first = BootOptions(
        memory_mib=flags.memory_mib, cpus=flags.cpus, kernel=flags.kernel, network=network(flags.network)
    )
    options = options_of(role, request.options, first=first)
    return replace(request, options=options, purpose=f"{request.purpose}: {request.name}")
