"""Templates: an image booted once and settled, from which every further machine is copied in a moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vmtasks import events
from vmtasks.cache import snapshots
from vmtasks.cache.snapshot import Snapshot
from vmtasks.deadline import Deadline
from vmtasks.errors import InfrastructureError, TestFailed, TimedOut
from vmtasks.machine.checkpoint import Checkpointer, fingerprint, key_of
from vmtasks.machine.identity import identity_agent
from vmtasks.machine.instance import QemuGuest
from vmtasks.machine.launch import BootSource, LaunchConfig
from vmtasks.machine.lifecycle import running
from vmtasks.spec import MAKER, Machine

_SETTLE_LIMIT_S = 120.0
_SILENCE_LIMIT_S = 10.0
_POLL_S = 0.02


def source_of(machine: Machine, launch: LaunchConfig, *, cold: bool, forkable: bool) -> BootSource:
    """Return what *machine* is to start from: its template, which is made if it is not there, or else its disk.

    Whatever goes wrong with a template costs time and nothing else: the machine then boots cold, and reports why.
    """
    if cold:
        return BootSource(reason="as asked for", forkable=forkable)
    if launch.baked is None:
        return BootSource(reason="its image is somebody else's", forkable=forkable)
    if machine.extra_args:
        return BootSource(reason="it has arguments of its own for QEMU", forkable=forkable)
    place = launch.place
    if not place.call(snapshots.has_room, launch.settings):
        return BootSource(reason="there is no room for templates (snapshots_mib, snapshots_share)", forkable=forkable)
    key = key_of(place.call(fingerprint, machine, launch.baked))
    try:
        template = place.call(snapshots.find, key)
        if template is None:
            with place.enter(snapshots.template_lock, launch.image):
                template = place.call(snapshots.find, key) or _made(key, machine, launch, launch.baked.in_use)
    except (InfrastructureError, TestFailed, TimedOut, OSError) as problem:
        text = f"there is no template of {launch.image}: {problem}; booting cold"
        events.emit(events.Note(machine=machine.name, text=text, level="warning"))
        return BootSource(reason=f"there is no template: {problem}", forkable=forkable)
    template.touch()
    reason = f"of template {launch.image}, made {template.made}"
    return BootSource(snapshot=template, reason=reason, forkable=forkable, fallback=BootSource(forkable=forkable))


def _made(key: str, machine: Machine, launch: LaunchConfig, in_use: Path) -> Snapshot:
    """Boot the image, let it settle, and save it."""
    maker = replace(machine, name=f"{machine.name}{MAKER}")
    theirs = replace(launch, settings=replace(launch.settings, attempts=1), purpose=f"the template of {launch.image}")
    with (
        events.phase("template", machine=machine.name, detail=f"{launch.image}, made once"),
        launch.place.enter(snapshots.create, key, "template", launch.image, lock_files=(in_use,)) as (into, final),
        running(maker, theirs, BootSource(reason="a template is made of it", forkable=True)) as guest,
    ):
        settle(guest)
        _checkpointer(guest).template(into, final)
    return launch.place.call(snapshots.read, final)


def _checkpointer(guest: QemuGuest) -> Checkpointer:
    if guest.checkpointer is None:
        raise AssertionError("a template is made of a baked image")
    return guest.checkpointer


def settle(guest: QemuGuest) -> None:
    """Wait until the guest has nothing left to do, and have nothing in its memory but what a start needs.

    :raise CommandFailed: it has no Perl, and so could not be given an identity.
    """
    guest.run(["systemctl", "is-system-running", "--wait"], timeout_s=_SETTLE_LIMIT_S, warn=True)
    guest.succeed("sync; echo 3 >/proc/sys/vm/drop_caches")
    guest.wait_up()  # once more, for what a login reads from the disk
    guest.query(["perl", "-e", "1"])
    guest.query(identity_agent())
    guest.close()
    # A connection that is still there would have no other end in each copy.
    deadline = Deadline.after(_SILENCE_LIMIT_S)
    while "TCP[ESTABLISHED]" in _checkpointer(guest).network() and not deadline.passed:
        guest.watch(deadline.within(_POLL_S))
