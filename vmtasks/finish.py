"""The part of a bake that needs the image to run: boot it in place, do the work, power it off."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from vmtasks import apt
from vmtasks.berth import Berth
from vmtasks.config import HostSettings
from vmtasks.errors import HostError, TestFailed
from vmtasks.guest import Guest, sh
from vmtasks.image.bake import GuestWork
from vmtasks.image.cache import BakedImage
from vmtasks.image.definition import Definition, File, laid_over
from vmtasks.life import living
from vmtasks.qemu.accel import Choice
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
        apt.install(guest, work.packages)
        guest.succeed(["apt-get", "clean"])
    if work.tree:
        # File by file, with git's modes: neither the directories that the image has nor a checkout's umask matter.
        files = [path.relative_to(work.tree) for path in laid_over(work.tree)]
        guest.put(work.tree, "/", files=files, mtime_s=int(time.time()))
    for file in work.files:
        _write(guest, file, work.home)
    for command in work.commands:
        guest.succeed(["/bin/sh", "-euxc", command])
    listed = guest.query(
        sh("command -v dpkg-query >/dev/null && dpkg-query -W -f '${binary:Package} ${Version}\\n'; sync")
    )
    return dict(line.split(" ", 1) for line in listed.splitlines())


def _write(guest: Guest, file: File, home: Path) -> None:
    """Put one file into the guest, in place of what is there."""
    if file.source:
        guest.put(home / file.source, file.path)
    else:
        path, above = shlex.quote(file.path), shlex.quote(str(PurePosixPath(file.path).parent))
        line = f"mkdir -p -- {above} && rm -f -- {path} && cat >{path}"
        guest.succeed(sh(line), stdin=(file.content or "").encode())
    guest.succeed(["chmod", file.mode, file.path])
