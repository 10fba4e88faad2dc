"""The recipes that are struck: each goes as far as it is told to, and stays there.

They write each phase that they come to into the file that ``VMTASKS_TORTURE_PHASES`` names: whoever wants to strike in
one waits for its name there, whatever is or is not shown on a terminal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from vmtasks import Group, Guest, Role, Run, TestFailed, events, recipe
from vmtasks.deadline import Deadline

LAYER = "tortured"
"""The image that is baked for this alone."""
_STAYS_S = 60.0
"""Longer than anybody waits before a strike."""
_MIB = 20


@recipe
def victim(run: Run, to: str) -> None:
    """Go as far as a phase, and stay in it.

    :param to: the phase; "stop" is the end of a machine that has done nothing.
    """
    with _phases_written_down():
        if to == "bake":
            _bake()
        with run.boot("bookworm", forkable=to == "checkpoint") as guest, events.phase("ready"):
            _do(guest, to)
            if to != "stop":
                _stay(guest.watch)


@recipe
def victim_group(run: Run, to: str) -> None:
    """Go as far as a phase with two machines on a network of their own, and stay in it.

    :param to: as for the other one; "fault" and "message" are what only groups have.
    """
    roles = {"one": Role(image="bookworm", memory_mib=512), "other": Role(image="bookworm", memory_mib=512)}
    with _phases_written_down(), run.group(roles) as group, events.phase("ready"):
        match to:
            case "fault":
                with events.phase("fault"):
                    _stay(partial(_cut_and_heal, group))
            case "message":
                with events.phase("message"):
                    group.run_all("lava-wait never")
            case "stop":
                group.run_all("lava-sync end")
            case _:
                _stay(group.watch)


def _cut_and_heal(group: Group, _: float) -> None:
    group.network.cut("one", "other")
    group.network.heal()
    group.check()


@contextmanager
def _phases_written_down() -> Iterator[None]:
    with Path(os.environ["VMTASKS_TORTURE_PHASES"]).open("a", buffering=1) as file:

        def say(event: events.Event) -> None:
            if isinstance(event, events.PhaseStarted | events.CommandStarted):
                file.write(f"{event.phase if isinstance(event, events.PhaseStarted) else 'command'}\n")

        with events.listening(say):
            yield


def _bake() -> None:
    from vmtasks.image.definition import find
    from vmtasks.providers.qemu.provider import ensure_baked

    ensure_baked(find(LAYER))


def _do(guest: Guest, to: str) -> None:
    match to:
        case "command":
            guest.succeed(["sleep", f"{_STAYS_S:g}"])
        case "shell":
            raise TestFailed("there is something to look at, with --shell")
        case "upload":
            source = Path("source")
            source.write_bytes(os.urandom(_MIB << 20))
            guest.put(source, "/tmp/copy")
        case "download":
            guest.query(["dd", "if=/dev/urandom", "of=/tmp/copy", "bs=1M", f"count={_MIB}"])
            guest.get("/tmp/copy", Path("copy"))
        case "checkpoint":
            guest.checkpoint("tortured")


def _stay(watch: Callable[[float], object]) -> None:
    deadline = Deadline.after(_STAYS_S)
    while not deadline.passed:
        watch(deadline.left_s)
