"""Make of a running machine what an image's definition describes, where no bake of it can be used."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath

from vmtasks import events
from vmtasks.config.here import task_line
from vmtasks.debian import apt
from vmtasks.errors import HostError, TestFailed, UsageError
from vmtasks.guest import Guest
from vmtasks.image import mirror
from vmtasks.image.bake import GuestSteps, guest_steps_of
from vmtasks.image.baked import key_of
from vmtasks.image.definition import Definition, File, overlay_files

APPLIED_LAYERS = "/var/lib/vmtasks/applied-layers"
"""A file in the guest: the content keys of the layers that it has, a line each."""
_APPLIED_LAYERS_BEFORE = "/var/lib/vmtasks/furnished"
"""Its name of before 0.2. Until then both are written and read: a host of somebody's may be used by both versions, and
none may apply a layer that the other has applied."""


def apply_image(guest: Guest, definition: Definition) -> None:
    """Do to a running Debian machine what the layers of *definition* ask for, but for those that it has already.

    What only makes a bootable disk is left out: ``boot_packages``, and the tree of the image at the bottom.

    :raise UsageError: it is another Debian than the image is.
    :raise HostError: it cannot be given all of that.
    """
    with events.phase("provision", machine=guest.name, detail=definition.name):
        try:
            _expect_alike(guest, definition)
            there = guest.query(f"cat {APPLIED_LAYERS} {_APPLIED_LAYERS_BEFORE} 2>/dev/null || :").split()
            missing = [layer for layer in definition.lineage if key_of(layer) not in there]
            archive = _archive(guest) if any(layer.repositories for layer in missing) else ""
            if any(layer.packages for layer in missing):
                apt.update(guest)
            for layer in missing:
                work = replace(guest_steps_of(layer, archive), packages=layer.packages)
                apply_layer(guest, work if layer.parent else replace(work, tree=None))
                _note_applied(guest, key_of(layer))
        except TestFailed as problem:
            message = f"cannot make {definition.name} of {guest.name}: {problem!s}"
            raise HostError(message, details=problem.details) from problem


def apply_layer(guest: Guest, work: GuestSteps) -> None:
    """Add repositories, install packages, lay a tree and files over the guest's, and run commands there.

    :raise CommandFailed: one of them did not go well.
    """
    for file in work.repositories:
        _write(guest, file, work.home)
    if work.repositories:
        apt.update(guest)
    if work.packages:
        apt.install(guest, work.packages)
        guest.succeed(["apt-get", "clean"])
    if work.tree:
        # File by file, with git's modes: neither the directories that the image has nor a checkout's umask matter.
        files = [path.relative_to(work.tree) for path in overlay_files(work.tree)]
        guest.put(work.tree, "/", files=files, mtime_s=int(time.time()))
    for file in work.files:
        _write(guest, file, work.home)
    for command in work.commands:
        guest.succeed(["/bin/sh", "-euxc", command])


def _write(guest: Guest, file: File, home: Path) -> None:
    """Put one file into the guest, in place of what is there."""
    if file.source:
        guest.put(home / file.source, file.path)
    else:
        path, above = shlex.quote(file.path), shlex.quote(str(PurePosixPath(file.path).parent))
        line = f"mkdir -p -- {above} && rm -f -- {path} && cat >{path}"
        guest.succeed(line, stdin=(file.content or "").encode())
    guest.succeed(["chmod", file.mode, file.path])


def _note_applied(guest: Guest, key: str) -> None:
    files = f"{APPLIED_LAYERS} {_APPLIED_LAYERS_BEFORE}"
    guest.query(f"mkdir -p {PurePosixPath(APPLIED_LAYERS).parent} && echo {key} | tee -a {files}")


def _archive(guest: Guest) -> str:
    """Return where a running Debian machine has the release itself from."""
    listed = guest.query(["apt-get", "indextargets", "--format", mirror.FORMAT, "Created-By: Packages"])
    return next((one.uri for one in mirror.parse(listed) if one.pocket == "release"), "")


def _expect_alike(guest: Guest, definition: Definition) -> None:
    line = '. /etc/os-release; echo "$VERSION_CODENAME" "$(dpkg --print-architecture)"'
    suite, _, architecture = guest.query(line).rstrip("\n").partition(" ")
    wanted = definition.lineage[0].suite or suite  # which suite an image of somebody else's has, is not known
    if (suite, architecture) != (wanted, definition.architecture):
        raise UsageError(
            f"cannot make {definition.name} of {guest.name}: the image is Debian {wanted} for "
            f"{definition.architecture}, and the machine is {suite or 'none'} for {architecture or 'nothing we know'}",
            hint=f"{task_line('images.list')} shows which images there are",
        )
