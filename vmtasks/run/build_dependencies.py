"""Build dependencies, installed once: the machine that has them is kept, and every recipe that builds starts there."""

from __future__ import annotations

from vmtasks import builddeps
from vmtasks.guest import Guest
from vmtasks.project import Project
from vmtasks.project.profiles import PROFILES, build_env
from vmtasks.providers.preparation import Preparation


def build_dependencies(project: Project, needs: str) -> Preparation:
    """Return that a machine has what a Debian build needs, and what every such build takes for granted.

    :param project: the one whose build profiles hold.
    :param needs: what :meth:`vmtasks.Source.build_needs` returns.
    """
    env = build_env(project)

    def run(guest: Guest) -> bool:
        is_new = builddeps.equip(guest)
        return (bool(needs) and builddeps.install(guest, builddeps.reduced(guest, needs, env))) or is_new

    return Preparation(
        name=f"the build dependencies of {project.name}",
        key=f"build dependencies: {needs} for profiles: {env.get(PROFILES, '')}",
        run=run,
    )
