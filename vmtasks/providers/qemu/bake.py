"""The part of a bake that needs the image to run: boot it in place, do the work, power it off."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vmtasks.config.settings import HostSettings
from vmtasks.debian import apt
from vmtasks.errors import HostError, TestFailed
from vmtasks.guest import Guest, sh
from vmtasks.host.accelerator import Choice
from vmtasks.image.bake import GuestWork
from vmtasks.image.baked import BakedImage
from vmtasks.image.definition import Definition
from vmtasks.machine.launch import Berth
from vmtasks.machine.lifecycle import living
from vmtasks.providers.apply_image import carry_out
from vmtasks.spec import Machine


def finisher(
    settings: HostSettings, choice: Choice, machine_of: Callable[..., Machine]
) -> Callable[[Definition, BakedImage, GuestWork], Mapping[str, str]]:
    """Return what :func:`vmtasks.image.bake.ensure` calls for work in the booted guest."""

    def finish(definition: Definition, baked: BakedImage, work: GuestWork) -> Mapping[str, str]:
        machine = machine_of(definition, baked, choice, throw_away=False, seed=work.seed)
        what = f"baking {definition.name}"
        berth = Berth(
            image=definition.name, baked=baked, access=baked.access, choice=choice, settings=settings, what=what
        )
        with living(machine, berth) as guest:
            try:
                return _work(guest, work)
            except TestFailed as problem:
                raise HostError(
                    f"cannot bake {definition.name}: {problem.sentence}", evidence=problem.evidence
                ) from problem

    return finish


def _work(guest: Guest, work: GuestWork) -> dict[str, str]:
    if work.packages:
        apt.update(guest)
    carry_out(guest, work)
    listed = guest.query(
        sh("command -v dpkg-query >/dev/null && dpkg-query -W -f '${binary:Package} ${Version}\\n'; sync")
    )
    return dict(line.split(" ", 1) for line in listed.splitlines())
