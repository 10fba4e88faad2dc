"""The console of an existing host during a run: its command's output becomes a log, as with a machine of QEMU's."""

from __future__ import annotations

import os
import select
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from vmtasks import events
from vmtasks.config.here import task_line
from vmtasks.errors import HostError, UsageError
from vmtasks.guest import Guest
from vmtasks.guest.console import GuestConsole
from vmtasks.machine.alarm_watch import ConsoleAlarms, following
from vmtasks.process.tail import last_lines
from vmtasks.process.threads import check_interrupted
from vmtasks.providers.static_host.console_command import ConsoleCommand, console_command, no_console
from vmtasks.ssh.session import Session
from vmtasks.supervisor.console import CONSOLE_LIMIT_BYTES

_READ_BYTES = 64 * 1024
_LAST_READS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConsole:
    """What a guest has of its host's console."""

    log: Path
    console: GuestConsole
    alarms: ConsoleAlarms


class ExistingGuest(Guest):
    """A guest that is an existing host.

    :param called: what the host is called in the settings.
    :param host_console: its console; None: the settings have no command for it.
    """

    def __init__(self, session: Session, *, called: str, host_console: HostConsole | None, **of_any_guest: Any) -> None:  # noqa: ANN401 - Guest says what
        super().__init__(session, console_log=host_console.log if host_console else None, **of_any_guest)
        self._called = called
        self._host_console = host_console

    @property
    def console(self) -> GuestConsole:
        """Its serial console.

        :raise UsageError: the settings have no command that leads to it.
        """
        if self._host_console is None:
            raise UsageError(no_console(self._called))
        return self._host_console.console

    @property
    def alarms(self) -> tuple[events.ConsoleAlarm, ...]:
        """What its kernel has reported on the console until now."""
        return tuple(self._host_console.alarms.found) if self._host_console else ()


@contextmanager
def host_console(
    machine: str,
    line: str,
    *,
    called: str,
    log_dir: Path | None,
    expect_ours: Callable[[], object],
    listens: bool,
) -> Iterator[HostConsole]:
    """Yield the console to which a line of shell leads; the command ends with the block, and the log stays.

    :param machine: the machine's name.
    :param called: what the host is called in the settings.
    :param log_dir: where the log is; None: nowhere in the end.
    :param expect_ours: raises if the host is ours no longer: then nothing is typed there. Reading does no harm, and is
        what helps where the network is dead.
    :param listens: whether it is read for alarms.
    :raise HostError: the log cannot be written.
    """
    with ExitStack() as stack:
        if log_dir is None:
            log_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmtasks-console-")))
        log = log_dir.absolute() / f"{machine}-console.log"
        alarms = stack.enter_context(following(machine, log, listens=listens))
        file = stack.enter_context(_opened(log))

        def complain(what: str) -> None:
            text = f"the console of {called} is interrupted: the command `console` of its settings {what}; trying again"
            events.emit(events.Note(machine=machine, text=text, level="warning"))

        stop_reading = stack.enter_context(_stopper())
        command = stack.enter_context(_read_to_its_end(line, complain, file.fileno(), stop_reading))

        def expect_alive() -> None:
            if not command.is_alive():
                raise _gone(called, command, log)

        def watch(wait_s: float) -> None:
            check_interrupted()
            alarms.look()
            threading.Event().wait(wait_s)
            expect_alive()

        def type_in(data: bytes) -> int:
            expect_ours()
            expect_alive()
            return _type_in(command.fd, data)

        console = GuestConsole(
            machine,
            log,
            watch=watch,
            type_in=type_in,
            from_bytes=alarms.from_bytes,
            limit_bytes=CONSOLE_LIMIT_BYTES,
        )
        yield HostConsole(log=log, console=console, alarms=alarms)


def _gone(called: str, command: ConsoleCommand, log: Path) -> HostError:
    """Return the error that says that a host's console has ended."""
    return HostError(
        f"cannot use the console of {called}: the command `console` of its settings {command.failure or 'has ended'}",
        details=last_lines(log),
        hint=f"{task_line('vm.console')} ssh://{called} runs it by hand, on this host",
    )


def _opened(log: Path) -> FileIO:
    """Open a log to be written at its end.

    :raise HostError: it cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab", buffering=0)
    except OSError as problem:
        raise HostError(f"cannot write to {problem.filename}: {problem.strerror}") from problem


@contextmanager
def _stopper() -> Iterator[int]:
    fd = os.eventfd(0)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _read_to_its_end(
    line: str, complain: Callable[[str], object], log: int, stop_reading: int
) -> Iterator[ConsoleCommand]:
    """Yield the command, while a thread of its own writes down what it prints."""
    with console_command(line, complain=complain) as command:
        thread = threading.Thread(target=_write_down, args=(command.fd, log, stop_reading), name="console", daemon=True)
        thread.start()
        try:
            yield command
        finally:
            os.eventfd_write(stop_reading, 1)
            thread.join()


def _write_down(terminal: int, log: int, stop: int) -> None:
    """Write what is printed into the log, as far as that has room, until it is to stop."""
    room_bytes = CONSOLE_LIMIT_BYTES
    last_reads = _LAST_READS
    while last_reads:
        ready = select.select([terminal, stop], [], [])[0]
        if terminal not in ready:
            return
        if stop in ready:  # what is printed without end is not read to its end
            last_reads -= 1
        data = os.read(terminal, _READ_BYTES)
        with suppress(OSError):  # a full disk must not cost the run: the console is evidence
            os.write(log, data[:room_bytes])
        room_bytes = max(0, room_bytes - len(data))


def _type_in(terminal: int, data: bytes) -> int:
    """Type on the console; return how many bytes its terminal has taken."""
    try:
        return os.write(terminal, data)
    except BlockingIOError:
        return 0
