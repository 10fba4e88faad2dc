"""The recipe that is struck: it goes as far as it is told to, and stays there.

It writes each phase that it comes to into the file that ``VMTASKS_TORTURE_PHASES`` names: whoever wants to strike in
one waits for its name there, whatever is or is not shown on a terminal.
"""

from __future__ import annotations

import os
from pathlib import Path

from vmtasks import Guest, Run, TestFailed, events, recipe
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
    with Path(os.environ["VMTASKS_TORTURE_PHASES"]).open("a", buffering=1) as file:

        def say(event: events.Event) -> None:
            if isinstance(event, events.PhaseStarted | events.CommandStarted):
                file.write(f"{event.phase if isinstance(event, events.PhaseStarted) else 'command'}\n")

        with events.listening(say):
            if to == "bake":
                _bake()
            with run.boot("bookworm", forkable=to == "checkpoint") as guest, events.phase("ready"):
                _do(guest, to)
                if to != "stop":
                    _stay(guest)


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


def _stay(guest: Guest) -> None:
    deadline = Deadline.after(_STAYS_S)
    while not deadline.passed:
        guest.watch(deadline.left_s)
