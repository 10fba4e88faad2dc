"""The part of a bake that needs the image to run: boot it in place, do the work, power it off."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vmtasks.config.settings import HostSettings
from vmtasks.debian import apt
from vmtasks.errors import HostError, TestFailed
from vmtasks.guest import Guest
from vmtasks.guest.answers import rows_of
from vmtasks.host.accelerator import Choice
from vmtasks.image.bake import GuestSteps
from vmtasks.image.baked import BakedImage
from vmtasks.image.definition import Definition
from vmtasks.machine.launch import LaunchConfig
from vmtasks.machine.lifecycle import running
from vmtasks.providers.apply_image import apply_layer
from vmtasks.spec import Machine


def guest_steps_runner(
    settings: HostSettings, choice: Choice, machine_of: Callable[..., Machine]
) -> Callable[[Definition, BakedImage, GuestSteps], Mapping[str, str]]:
    """Return what :func:`vmtasks.image.bake.ensure` calls for work in the booted guest."""

    def run_guest_steps(definition: Definition, baked: BakedImage, work: GuestSteps) -> Mapping[str, str]:
        machine = machine_of(definition, baked, choice, ephemeral=False, seed=work.seed)
        purpose = f"baking {definition.name}"
        launch = LaunchConfig(
            image=definition.name, baked=baked, access=baked.access, choice=choice, settings=settings, purpose=purpose
        )
        with running(machine, launch) as guest:
            try:
                return _work(guest, work)
            except TestFailed as problem:
                raise HostError(f"cannot bake {definition.name}: {problem!s}", details=problem.details) from problem

    return run_guest_steps


def _work(guest: Guest, work: GuestSteps) -> dict[str, str]:
    if work.packages:
        apt.update(guest)
    apply_layer(guest, work)
    listed = guest.query("command -v dpkg-query >/dev/null && dpkg-query -W -f '${binary:Package} ${Version}\\n'; sync")
    return {row[0]: row[1] for row in rows_of(listed, 2, of="dpkg-query")}
