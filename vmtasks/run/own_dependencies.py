"""What a project's own tests need, fetched once: the machine that has it is kept, and later runs start there.

It is fetched where there are only the files that decide what it is. So it cannot depend on anything that is not in its
key; and where it needs more of the project than that, it fails there, and is then done in the whole tree, each time.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.project import source_package
from vmtasks.project.prepared import DoneOnce
from vmtasks.providers.preparation import Preparation
from vmtasks.ssh.command import short

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vmtasks.guest import Guest
    from vmtasks.project import Project

_TIME_S = 315532800
"""1980, before which no zip file can be: the time of the files is none of what decides."""


def own_dependencies(project: Project) -> Preparation | None:
    """Return that a machine has what a project's own tests need: Debian's packages, and what its tools fetch.

    What is done with a secret is not kept (``[commands] env_from``): then it is only the packages.

    :raise UsageError: one of the files that decide cannot be read.
    """
    packages, once = Preparation.of_packages(project.commands.packages), DoneOnce.of(project)
    if once is None or project.commands.env_from:
        return packages

    return Preparation(
        name=f"what the tests of {project.name} need",
        key=f"prepared: {once.key}",
        run=lambda guest: _fetch(guest, project, once),
        before=packages,
    )


def take_over(guest: Guest, project: Project, once: DoneOnce) -> bool:
    """Make what was fetched for exactly this the tree that the project's files go into; return whether it was there."""
    place, tree = map(shlex.quote, (_place(once), f"{source_package.WORKSHOP}/{project.directory_name}"))
    return bool(guest.query(f"[ ! -d {place} ] || {{ rm -rf {tree} && mv {place} {tree} && echo yes; }}"))


def _fetch(guest: Guest, project: Project, once: DoneOnce) -> bool:
    """Run the line where there are only the files that decide; return whether that was enough."""
    from vmtasks.project import fetching  # a listing of the tasks does without it

    place = _place(once)
    source_package.open_workshop(guest)
    guest.query(["rm", "-rf", place])  # an existing host may have one that never came to its end
    guest.put(project.root, place, files=once.files, mtime_s=_TIME_S)
    guest.query(["chown", "-R", f"{source_package.USER}:{source_package.USER}", place])
    env = {**fetching.env(guest, project), **project.commands.env}
    status = attempt(guest, once, place, env)
    if status == 0:
        return True
    text = (
        f"what the tests need is not kept: `{short(once.line)}` ended with status {status} where there was no "
        "more of the project than [commands] prepare_files; it is run once more, with all of it"
    )
    events.emit(events.Note(machine=guest.name, text=text, level="warning"))
    return False


def attempt(guest: Guest, once: DoneOnce, tree: str, env: Mapping[str, str], *, env_from: Iterable[str] = ()) -> int:
    """Run what is done once, and return its exit status; if it fails, the tree and what it left beside it are gone.

    Half of what it makes would be taken for all of it.
    """
    workshop = source_package.WORKSHOP
    there = guest.query(["ls", "-A", workshop]).split("\n")
    result = guest.run(once.line, cwd=tree, user=source_package.USER, env=env, env_from=env_from, warn=True)
    if not result.ok:
        new = [name for name in guest.query(["ls", "-A", workshop]).split("\n") if name not in there]
        guest.query(["rm", "-rf", tree, *(f"{workshop}/{name}" for name in new)])
    return result.exited


def _place(once: DoneOnce) -> str:
    return f"{source_package.WORKSHOP}/.prepared-{once.key[:16]}"
