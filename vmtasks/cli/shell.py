"""A shell in a clean machine: where a project's test command would run, or root's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from vmtasks.config.here import page, task_line

if TYPE_CHECKING:
    from vmtasks.guest import Guest
    from vmtasks.project import Project
    from vmtasks.providers.preparation import Preparation
    from vmtasks.ssh.command import CommandSpec


@task(
    help={
        "image": "the image to boot; by default the one that the project here is tested in",
        "source": "the project's directory",
        "bare": "leave the project out: root's shell in a machine of the image",
        "memory_mib": "memory in MiB",
        "cpus": "processors",
        "accel": "auto, kvm or tcg",
        "on": "where: as --on of a recipe",
    },
    auto_shortflags=False,
)
def shell(
    _: Context,
    image: str = "",
    source: str = ".",
    bare: bool = False,
    memory_mib: str = "",
    cpus: str = "",
    accel: str = "",
    on: str = "",
) -> None:
    """Open a shell in a clean machine: in the project's tree, ready for its test command; it goes when you leave.

    The project's files are in /build/NAME, what its tests need is installed, and its test command is in the shell's
    history. Where there is no project, it is root's shell in the image that is named.
    """
    from vmtasks.errors import UsageError
    from vmtasks.run.options import accelerator, number

    expect_terminal()
    project = None if bare else _project_at(Path(source), image)
    if project is None and not image:
        raise UsageError(
            f"there is no project in {Path(source).absolute()} that could be told",
            hint=f"name an image for a shell without one: {task_line('shell --image bookworm')}",
        )
    size_mib, processors = number("memory-mib", memory_mib, at_least=64), number("cpus", cpus, at_least=1)
    open_in(image, project, on=on, memory_mib=size_mib, cpus=processors, accel=accelerator(accel))


def expect_terminal() -> None:
    """See that there is a person to open a shell for.

    :raise UsageError: there is none.
    """
    from vmtasks.errors import UsageError

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "cannot open a shell: standard input and standard error are no terminal",
            hint=f"what is to run in a machine without a person at it is a recipe: see {page('recipes')}",
        )


def open_in(image: str, project: Project | None, *, on: str, **machine: object) -> None:
    """Boot a machine, and open a shell there until the person leaves it.

    :param image: the image, where there is no project.
    :param machine: memory, processors and accelerator, as :func:`vmtasks.boot` takes them; None is not given.
    :raise Exit: always, with the shell's status.
    """
    from vmtasks.process.signals import interrupt_on_signals
    from vmtasks.providers.boot import boot
    from vmtasks.report import reporting
    from vmtasks.run.debug import open_shell
    from vmtasks.ssh import secret

    asked = {name: value for name, value in machine.items() if value is not None}
    prepare: Preparation | None = None
    if project:
        from vmtasks.run.own_dependencies import own_dependencies

        wants = {name: getattr(project.machine, name) for name in ("memory_mib", "cpus", "network")}
        asked = {name: value for name, value in wants.items() if value is not None} | asked
        image, on, prepare = project.images.build, on or project.machine.on, own_dependencies(project)
    secrets = secret.values(project.commands.env_from if project else ())
    with (
        reporting(None),
        interrupt_on_signals(),
        boot(image, on=on, prepare=prepare, purpose="a shell", **asked) as guest,  # type: ignore[arg-type]
    ):
        guest.mask(secrets.values())
        status = open_shell(guest, at=_ready(guest, project) if project else None)
    raise Exit(code=status)


def _ready(guest: Guest, project: Project) -> CommandSpec:
    """Do all that is done before the project's tests run, and return where they would."""
    from vmtasks import events
    from vmtasks.run.own_tests import ready_for_tests

    for line in project.guess("test"):
        events.emit(events.Note(text=line))
    test, prepares = ready_for_tests(guest, project)
    for one in prepares:
        guest.run(one.command, cwd=one.cwd, user=one.user, env=one.env, env_from=one.env_from, warn=True)
    return test


def _project_at(root: Path, image: str) -> Project | None:
    """Return the project in a directory, with *image* over its own; None if nothing there tells of one.

    :raise UsageError: its files are not as they should be.
    """
    from dataclasses import replace

    from vmtasks.config.paths import image_dirs
    from vmtasks.project import Images, Project

    project = Project.load(root)
    if project.detected is None and not (root / "vmtasks.toml").is_file():
        return None
    if not image:
        return project
    variant = project.detected.variant if project.detected else "build"
    return replace(project, images=Images.like(image, image_dirs(), variant=variant))
