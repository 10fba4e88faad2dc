"""A machine's console on a person's terminal, or on a pipe: to look at, or to type there."""

from __future__ import annotations

import codecs
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks.config.here import task_line
from vmtasks.errors import HostError, UsageError, did_you_mean
from vmtasks.guest.console import follow
from vmtasks.host.lease import Lease, leases
from vmtasks.process.signals import interrupt_on_signals
from vmtasks.process.terminal import Ended, Keyboard, join, keyboard_of, raw
from vmtasks.report.sanitize import sanitized

if TYPE_CHECKING:
    from collections.abc import Callable

_FOLLOW_S = 0.2
_STDIN, _STDOUT = 0, 1


def look_on(name: str) -> None:
    """Show what a machine prints on its console, from its boot on, until it ends or somebody interrupts.

    :raise UsageError: there is no such machine, or more than one, or its console is elsewhere.
    """
    lease = _lease_of(name)
    if not (log := lease.info.get("console")):
        raise UsageError(
            f"the console of {name} is on another host, with the user who asked for it",
            hint="--write attaches to it from here: it shows what is printed from now on",
        )
    screen = _Screen()
    with interrupt_on_signals():
        follow(Path(log), partial(_lives, lease.directory), screen.show_text, partial(time.sleep, _FOLLOW_S))


def attach_to(name: str) -> None:
    """Join a machine's console and the terminal, or what is piped into us, until one of them ends.

    :raise UsageError: there is no such machine, or more than one.
    :raise HostError: it takes nobody.
    """
    from vmtasks.supervisor.console_socket import connect

    lease = _lease_of(name)
    try:
        line = connect(str(lease.directory))
    except OSError as problem:
        cause = problem.strerror or str(problem)
        raise HostError(
            f"cannot attach to the console of {name}: {cause}",
            hint="it starts, or has ended, or an older vmtasks runs it: try again, or leave out --write to look at it",
        ) from problem
    with line:
        line.setblocking(False)
        _join(line.fileno(), name, keyboard_of(_STDIN))


def attach_to_host(on: str, *, write: bool) -> None:
    """Run the console command of an existing host, and join it with the terminal as :func:`attach_to` does.

    :param write: whether anything is typed there.
    :raise UsageError: the settings have no such command.
    :raise HostError: the command failed.
    """
    from vmtasks.config.settings import HostSettings
    from vmtasks.providers.static_host.console_command import console_command, line_of
    from vmtasks.providers.static_host.provider import StaticHost

    host = StaticHost.at(on)
    name, command = line_of(host.host, host.port, HostSettings.load())
    with console_command(command, tries=1) as running:
        ended = _join(running.fd, name, keyboard_of(_STDIN) if write else None, running.is_alive)
        if ended is Ended.BY_LINE and running.failure:
            raise HostError(
                f"cannot go on with the console of {name}: the command `console` of its settings {running.failure}",
                hint="try it by hand, on this host",
            )


def _join(fd: int, name: str, keyboard: Keyboard | None, is_alive: Callable[[], bool] = lambda: True) -> Ended:
    is_persons = keyboard is not None and keyboard.is_terminal and os.isatty(_STDOUT)
    # A full-screen program in the guest is to have the terminal; whoever only looks on is to have text.
    screen = _Screen()
    show = _show_bytes if is_persons else screen.show
    end = "Ctrl-C" if keyboard is None else "Ctrl-]" if keyboard.is_terminal else "the end of the input"
    _tell(f"attached to the console of {name}: {end} ends it")
    with interrupt_on_signals():
        if keyboard is None:
            return join(fd, None, show, is_alive=is_alive)
        try:
            with raw(keyboard, also_output=is_persons):
                ended = join(fd, keyboard, show, is_alive=is_alive)
        finally:
            screen.finish()
            if keyboard.is_terminal:
                _tell("")  # the guest's last line may have no end
        runs_on = "the console has ended" if ended is Ended.BY_LINE else "the machine goes on"
        _tell(f"left the console of {name}: {runs_on}")
    return ended


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _show_bytes(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class _Screen:
    """Shows text of which a terminal obeys nothing."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def show(self, data: bytes) -> None:
        self.show_text(self._decoder.decode(data))

    def show_text(self, text: str) -> None:
        text = self._held + text
        shown = text.rstrip("\r")  # which may be the first half of a line break
        self._held = text[len(shown) :]
        sys.stdout.write(sanitized(shown))
        sys.stdout.flush()

    def finish(self) -> None:
        """Show what was held back."""
        sys.stdout.write(sanitized(self._held))
        sys.stdout.flush()
        self._held = ""


def _lives(directory: Path) -> bool:
    return any(lease.directory == directory and lease.alive for lease in leases())


def _lease_of(name: str) -> Lease:
    """Return the lease of a machine that runs, by its name or by its supervisor's pid.

    :raise UsageError: there is no such machine, or more than one.
    """
    alive = [lease for lease in leases() if lease.alive]
    found = [one for one in alive if name in {one.info.get("name"), str(one.info.get("supervisor_pid"))}]
    if not found:
        known = [str(one.info.get("name")) for one in alive]
        hint = did_you_mean(
            name, known, otherwise=f"{task_line('vm.ps')} lists all machines; yours have a console here"
        )
        raise UsageError(f"no machine '{name[:60]}' of yours runs on this host", hint=hint)
    if len(found) > 1:
        pids = ", ".join(f"{one.info.get('supervisor_pid')} ({one.info.get('what')})" for one in found)
        raise UsageError(f"there are {len(found)} machines '{name}': give one's pid: {pids}")
    return found[0]
