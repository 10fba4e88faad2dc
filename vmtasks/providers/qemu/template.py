"""Templates: an image booted once and settled, from which every further machine is copied in a moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vmtasks import events
from vmtasks.cache import snapshots
from vmtasks.deadline import Deadline
from vmtasks.errors import InfrastructureError, TestFailed, TimeLimit
from vmtasks.guest import Guest, sh
from vmtasks.machine.checkpoint import basis_of, key_of
from vmtasks.machine.identity import doze
from vmtasks.machine.launch import Berth, Origin
from vmtasks.machine.lifecycle import living
from vmtasks.spec import MAKER, Machine

_SETTLE_LIMIT_S = 120.0
_SILENCE_LIMIT_S = 10.0
_POLL_S = 0.02


def origin_of(machine: Machine, berth: Berth, *, cold: bool, forkable: bool) -> Origin:
    """Return what *machine* is to start from: its template, which is made if it is not there, or else its disk.

    Whatever goes wrong with a template costs time and nothing else: the machine then boots cold, and says why.
    """
    if cold:
        return Origin(why="as asked for", forkable=forkable)
    if berth.baked is None:
        return Origin(why="its image is somebody else's", forkable=forkable)
    if machine.extra:
        return Origin(why="it has arguments of its own for QEMU", forkable=forkable)
    place = berth.place
    if not place.call(snapshots.has_room, berth.settings):
        return Origin(why="there is no room for templates (frozen_mib, frozen_share)", forkable=forkable)
    key = key_of(place.call(basis_of, machine, berth.baked))
    try:
        template = place.call(snapshots.find, key)
        if template is None:
            with place.within(snapshots.only_maker, berth.image):
                template = place.call(snapshots.find, key) or _made(key, machine, berth, berth.baked.in_use)
    except (InfrastructureError, TestFailed, TimeLimit, OSError) as problem:
        text = f"there is no template of {berth.image}: {problem}; booting cold"
        events.emit(events.Note(machine=machine.name, text=text, level="warning"))
        return Origin(why=f"there is no template: {problem}", forkable=forkable)
    template.touch()
    why = f"from the template of {berth.image}, made {template.made}"
    return Origin(frozen=template, why=why, forkable=forkable, otherwise=Origin(forkable=forkable))


def _made(key: str, machine: Machine, berth: Berth, in_use: Path) -> snapshots.Frozen:
    """Boot the image, let it settle, and freeze it."""
    maker = replace(machine, name=f"{machine.name}{MAKER}")
    theirs = replace(berth, settings=replace(berth.settings, attempts=1), what=f"the template of {berth.image}")
    with (
        events.phase("template", machine=machine.name, detail=f"{berth.image}, made once"),
        berth.place.within(snapshots.making, key, "template", berth.image, stands_on=(in_use,)) as (into, final),
        living(maker, theirs, Origin(why="a template is made of it", forkable=True)) as guest,
    ):
        settle(guest)
        guest.facts["freezer"].template(into, final)
    return berth.place.call(snapshots.read, final)


def settle(guest: Guest) -> None:
    """Wait until the guest has nothing left to do, and have nothing in its memory but what a start needs.

    :raise CommandFailed: it has no Perl, and so could not be woken.
    """
    guest.run(["systemctl", "is-system-running", "--wait"], timeout_s=_SETTLE_LIMIT_S)
    guest.succeed(sh("sync; echo 3 >/proc/sys/vm/drop_caches"))
    guest.wait_up()  # once more, for what a login reads from the disk
    guest.query(["perl", "-e", "1"])
    guest.query(doze())
    guest.close()
    # A connection that is still there would be one to nobody in each copy.
    deadline = Deadline.after(_SILENCE_LIMIT_S)
    while "TCP[ESTABLISHED]" in guest.facts["freezer"].network() and not deadline.passed:
        guest.watch(deadline.within(_POLL_S))
