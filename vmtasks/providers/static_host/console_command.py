"""The command that connects to an existing host's serial console: ipmitool, conserver's console, socat, anything.

It runs on a terminal of its own, in a session of its own, so that it behaves as by hand: it writes each character at
once, is not interrupted by the Ctrl-C that is meant for others, and asks nobody else for a password. Source: pty(7).
"""

from __future__ import annotations

import os
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context

from vmtasks.config.settings import SYSTEM_CONFIG, HostSettings
from vmtasks.errors import HostError, Interrupted, UsageError
from vmtasks.process.host_commands import HostCommands, host_commands

RETRY_S = 1.0
"""How long to wait before a command that has ended is started again."""
TRIES = 3
"""How often a command may end within :data:`STEADY_S` of its start."""
STEADY_S = 10.0
_ON_TERMINAL = 'exec <>"$1" >&0 2>&0; eval "$2"'


def line_of(host: str, port: int | None, settings: HostSettings) -> tuple[str, str]:
    """Return what a host is called in the settings, and the line of shell that leads to its console.

    :raise UsageError: there is none.
    """
    name, lines = settings.existing(host, port)
    if not lines.console:
        raise UsageError(no_console(name))
    return name, lines.console


def no_console(name: str) -> str:
    """Return the sentence that says what to set."""
    return (
        f"cannot use the console of {name}: set the line of shell that connects to it, "
        f'console = "…" under [hosts."{name}"] in {SYSTEM_CONFIG} or your own settings, '
        "as in `ipmitool -H BMC sol activate`"
    )


class ConsoleCommand:
    """A command that runs, or is about to be started again.

    :param line: for the shell.
    :param terminal: the name of its terminal.
    :param fd: the other end of that, which does not block.
    :param tries: how often it may end soon after its start.
    :param complain: told what became of it each time that it has ended and is to be started again.
    """

    def __init__(self, line: str, terminal: str, fd: int, *, tries: int, complain: Callable[[str], object]) -> None:
        self.fd = fd
        self._argv = ["setsid", "--wait", "/bin/sh", "-c", _ON_TERMINAL, "sh", terminal, line]
        self._tries = tries
        self._complain = complain
        self._stop = threading.Event()
        self._over = threading.Event()
        self.failure = ""
        """What became of it, if it is not started again and has failed."""

    def is_alive(self) -> bool:
        """Tell whether it runs, or will."""
        return not self._over.is_set()

    def stop(self) -> None:
        """Have it end, and not be started again."""
        self._stop.set()

    def serve(self, host: HostCommands) -> None:
        """Run it until it is to stop, or has ended too often."""
        ended_soon = 0
        try:
            while not self._stop.is_set():
                began_s = time.monotonic()
                status = host.run(self._argv, watch=self._expect_wanted)
                self.failure = f"ended with status {status}" if status else ""
                ended_soon = ended_soon + 1 if time.monotonic() - began_s < STEADY_S else 0
                if ended_soon >= self._tries or self._tries == 1 or self._stop.is_set():
                    return
                self._complain(self.failure or "has ended")
                self._stop.wait(RETRY_S)
        except Interrupted:
            self.failure = ""
        except HostError as problem:
            self.failure = f"could not be run: {problem}"
        finally:
            self._over.set()

    def _expect_wanted(self, _: float) -> None:
        if self._stop.is_set():
            raise Interrupted("no longer wanted")


@contextmanager
def console_command(
    line: str, *, tries: int = TRIES, complain: Callable[[str], object] = lambda _: None
) -> Iterator[ConsoleCommand]:
    """Have a command run for as long as the block lasts; all that it has started ends with it.

    :raise HostError: it could not be ended.
    """
    with ExitStack() as hang_up, ExitStack() as stack:
        ours, theirs = os.openpty()
        hang_up.callback(os.close, ours)
        stack.callback(
            os.close, theirs
        )  # held open: what the terminal is set to lasts, and no end of it is one of ours
        tty.setraw(theirs)  # no echo, no line ends of its own
        os.set_blocking(ours, False)
        command = ConsoleCommand(line, os.ttyname(theirs), ours, tries=tries, complain=complain)
        host = stack.enter_context(host_commands())
        thread = threading.Thread(target=copy_context().run, args=(command.serve, host), name="console", daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(hang_up.close)  # which ends also what has become another user's (sudo)
        stack.callback(command.stop)
        yield command
