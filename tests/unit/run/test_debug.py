"""A machine that is kept for a look."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from vmtasks import Interrupted, events
from vmtasks.process.signals import interrupt_on_signals
from vmtasks.run import debug


class Stub:
    """A guest that somebody interrupts as soon as it is watched."""

    name = "m"
    ssh_command = ("ssh", "m")

    def watch(self, wait_s: float) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def test_the_signal_that_ends_the_look_is_not_the_last_one_that_is_heard() -> None:
    guest: Any = Stub()
    notes: list[events.Event] = []
    with interrupt_on_signals(), events.listening(notes.append):
        debug.keep_alive(guest, 1800)
        debug.keep_alive(guest, None)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
    texts = [note.text for note in notes if isinstance(note, events.Note)]
    assert texts == [
        "kept for 1800 s, or until Ctrl-C; get in with: ssh m",
        "not kept any longer",
        "kept until Ctrl-C; get in with: ssh m",
        "not kept any longer",
    ]
