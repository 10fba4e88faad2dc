"""What a person can do with a machine while it is there: look around in it, or have it kept for a while."""

from __future__ import annotations

import shlex
import subprocess
import sys

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import Interrupted, VmtasksError
from vmtasks.guest import Guest
from vmtasks.process.signals import interrupt_on_signals

_LOOK_S = 5.0


def open_shell(guest: Guest, problem: VmtasksError | None = None) -> int:
    """Open an interactive shell in the guest and return its exit status; without a terminal, say so instead.

    :param problem: what has just failed, to be shown before the shell opens.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        text = "--shell needs a terminal to open a shell on; --keep keeps the machine without one"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        return 0
    if problem is not None:
        events.emit(events.Note(machine=guest.name, text=str(problem), level="warning"))
    events.emit(events.Note(machine=guest.name, text="a shell in the machine; it goes when you leave"))
    with events.phase("shell", machine=guest.name):  # displays leave the terminal alone in this phase
        return subprocess.run([*guest.ssh_command[:1], "-t", *guest.ssh_command[1:]], check=False).returncode


def keep_alive(guest: Guest, timeout_s: float | None) -> None:
    """Keep the machine until somebody interrupts, it ends by itself, or *timeout_s* seconds have passed."""
    line = shlex.join(guest.ssh_command)
    until = f"for {timeout_s:g} s, or until Ctrl-C" if timeout_s else "until Ctrl-C"
    text = f"kept {until}; get in with: {line}"
    events.emit(events.Note(machine=guest.name, text=text))
    deadline = Deadline.after(timeout_s)
    try:
        with interrupt_on_signals():  # the run goes on afterwards, and is to hear the next signal as well
            while not deadline.passed:
                guest.watch(deadline.within(_LOOK_S))
    except Interrupted:
        events.emit(events.Note(machine=guest.name, text="not kept any longer"))
