"""What a person can do with a machine while it is there: look around in it, or have it kept for a while."""

from __future__ import annotations

import shlex
import subprocess
import sys

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import InfrastructureError, Interrupted, TestFailed, VmtasksError
from vmtasks.guest import Guest
from vmtasks.guest.failure import shell_at
from vmtasks.process.signals import interrupt_on_signals
from vmtasks.run.options import RecipeOptions
from vmtasks.ssh.command import CommandSpec

_LOOK_S = 5.0


def blame(guest: Guest, problem: VmtasksError) -> None:
    """Have the command that an error is about count as the one that failed, if it is about one."""
    if (result := getattr(problem, "result", None)) is not None:
        guest.blame(result)


def look_at(guest: Guest, problem: VmtasksError, flags: RecipeOptions) -> None:
    """Give a person the look at a machine that has failed which the command line asks for."""
    if flags.shell:
        open_shell(guest, problem, at=guest.failed_command)
    if flags.keep:
        keep_alive(guest, flags.keep_for_s)


def open_shell(guest: Guest, problem: VmtasksError | None = None, *, at: CommandSpec | None = None) -> int:
    """Open an interactive shell in the guest and return its exit status; without a terminal, say so instead.

    :param problem: what has just failed, to be shown before the shell opens.
    :param at: a command that failed: the shell is where that ran, as its user and with its environment, and has it in
        its history.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        text = "--shell needs a terminal to open a shell on; --keep keeps the machine without one"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        return 0
    if problem is not None:
        events.emit(events.Note(machine=guest.name, text=str(problem), level="warning"))
    events.emit(events.Note(machine=guest.name, text="a shell in the machine; it goes when you leave"))
    line = _line_of_shell(guest, at) if at else []
    with events.phase("shell", machine=guest.name):  # displays leave the terminal alone in this phase
        return subprocess.run([*guest.ssh_command[:1], "-t", *guest.ssh_command[1:], *line], check=False).returncode


def _line_of_shell(guest: Guest, at: CommandSpec) -> list[str]:
    """Return the line that opens a shell where a command failed; none where that cannot be prepared."""
    try:
        return [shell_at(guest, at)]
    except (TestFailed, InfrastructureError) as problem:  # a full disk may be what failed
        text = f"the shell opens elsewhere than the command failed: {problem}"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        return []


def keep_alive(guest: Guest, timeout_s: float | None) -> None:
    """Keep the machine until somebody interrupts, it ends by itself, or *timeout_s* seconds have passed."""
    line = shlex.join(guest.ssh_command)
    until = f"for {timeout_s:g} s, or until Ctrl-C" if timeout_s else "until Ctrl-C"
    text = f"kept {until}; get in with: {line}"
    events.emit(events.Note(machine=guest.name, text=text))
    try:
        with interrupt_on_signals():  # the run goes on afterwards, and is to hear the next signal as well
            watch_until(guest, Deadline.after(timeout_s))
    except Interrupted:
        events.emit(events.Note(machine=guest.name, text="not kept any longer"))


def watch_until(guest: Guest, deadline: Deadline) -> None:
    """Let a machine live until *deadline*; what becomes of it before is raised."""
    while not deadline.passed:
        guest.watch(deadline.within(_LOOK_S))
