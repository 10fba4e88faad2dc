"""A supervisor's messages about its machine, turned into progress, or into the right exception."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Never

from vmtasks import events
from vmtasks.config.here import page, task_line
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, ConnectionLost, GuestLost, HostError, TimedOut, VmtasksError
from vmtasks.host.slots import Ticket, waiting_for
from vmtasks.process.tail import last_lines, lines_of
from vmtasks.process.threads import check_interrupted
from vmtasks.supervisor.client import SupervisorClient

TURN_S = 0.5
"""How long to wait for news at a time: an interrupt is to be noticed."""
_LOOK = f"{task_line('doctor')} looks at this host, and {task_line('images.check')} at all that is kept on it"
RESET_LIMIT_S = 15.0
"""How long QEMU may take to reset a machine."""
_FULL = "is the host's disk full?"
_OVERFULL = "where that is the host's to give: machine_disk_mib (VMTASKS_MACHINE_DISK_MIB) is the limit"
_CONFINED = f"QEMU opens what the machine's image and arguments name, and nothing else: {page('security')}"


class MachineWatch:
    """Handles the messages of one supervisor.

    :param check: called in every wait; raises when nothing needs the machine any more.
    """

    def __init__(
        self, client: SupervisorClient, machine: str, console: Path, check: Callable[[], None] = lambda: None
    ) -> None:
        self._check = check
        self._bad: VmtasksError | None = None
        """Bad news, which every thread is to hear that waits for the machine."""
        self._client = client
        self._machine = machine
        self._console = console
        self.greeted = False
        """Whether QEMU has come to run: one that has not refuses what it was told, and would again."""
        self.booted = False
        self._queue = events.Waiting("slot", machine=machine)
        self.listens = True
        """Whether the guest may still do what it is told."""
        self._panicked = False
        self._is_restarting = False
        """Whether QEMU is being started anew, with what was chosen in the guest."""
        self._resets = 0
        """How often the machine was reset from here."""

    def watch(self, wait_s: float) -> None:
        """Let at most *wait_s* seconds pass, or less if there is news; raise if it is bad."""
        self._look_around()
        while (message := self._client.next(wait_s)) is not None:
            self._handle(message)
            wait_s = 0.0

    def wait_for(self, event: str, deadline: Deadline) -> dict[str, Any]:
        """Return the next *event*.

        :raise BootError: the machine ended first, or *deadline* passed.
        """
        while not deadline.passed:
            self._look_around()
            if event == "admitted":
                self._queue.remind()
            message = self._client.next(deadline.within(TURN_S))
            if message is not None and message["event"] == event:
                return message
            if message is not None:
                self._handle(message)
        raise BootError(
            f"{self._machine}: QEMU was not ready within {deadline.timeout_s:g} s", details=self._console_tail()
        )

    def reset(self) -> None:
        """Have QEMU reset the machine; that its kernel has panicked is over with that, and nothing else is.

        :raise BootError: QEMU did not.
        :raise VmtasksError: the machine is gone, or its host fails it.
        """
        resets, deadline = self._resets, Deadline.after(RESET_LIMIT_S)
        if self._bad is None or self._panicked:
            self._client.qmp("system_reset", timeout_s=RESET_LIMIT_S)
        while self._resets == resets:
            if self._bad is not None and not self._panicked:
                raise self._bad
            if deadline.passed:
                raise BootError(f"{self._machine}: QEMU did not reset it within {RESET_LIMIT_S:g} s")
            self._hear_out(deadline.within(TURN_S))

    def wait_off(self, deadline: Deadline) -> None:
        """Wait until the guest has switched its machine off, and QEMU has ended with it.

        :raise TimedOut: it has not before *deadline*.
        :raise ConnectionLost: QEMU has ended otherwise.
        """
        while self._client.exited is None:
            if deadline.passed:
                raise TimedOut(f"{self._machine} did not switch itself off within {deadline.timeout_s:g} s")
            check_interrupted()
            self._check()
            self._hear_out(deadline.within(TURN_S))
        if not (self._client.exited["by_itself"] and self._client.exited["status"] == 0):
            self._handle(self._client.exited)

    def _hear_out(self, wait_s: float) -> None:
        """Take the next message, if there is one; a panic, and a machine that switches itself off, end nothing here."""
        if (message := self._client.next(wait_s)) is not None:
            try:
                self._handle(message)
            except GuestLost:
                if not (self._panicked or message["event"] == "exited"):
                    raise

    def _look_around(self) -> None:
        check_interrupted()
        self._check()
        if self._bad is not None:
            raise self._bad

    def _handle(self, message: dict[str, Any]) -> None:
        if message["event"] in ("restarting", "restarted"):
            self._is_restarting = message["event"] == "restarting"
        try:
            self._judge(message)
        except VmtasksError as problem:
            self._bad = problem
            raise

    def _judge(self, message: dict[str, Any]) -> None:
        by_guest, _ = self._errors
        match message["event"]:
            case "waiting":
                self._queue.tell(f"waiting{waiting_for([Ticket(**one) for one in message['ahead']])}")
            case "panic":
                self.listens, self._panicked = False, True
                raise by_guest(
                    f"the kernel of {self._machine} panicked: {message['line']}", details=self._console_tail()
                )
            case "out-of-memory":
                text = f"the kernel of {self._machine} says: {message['line']}; --memory-mib gives it more"
                events.emit(events.Note(machine=self._machine, text=text, level="warning"))
            case "overfull":
                self.listens = False
                text = f"{self._machine} has written more than {message['written_mib']} MiB on the host"
                raise by_guest(text, hint=_OVERFULL)
            case "expired":
                self.listens = False
                raise TimedOut(f"{self._machine} has lived for {message['lifetime_s']} s, which was its time to live")
            case "exited":
                self._handle_end(message)
            case "qemu" if message["name"] == "RESET" and not message["data"].get("guest"):
                self._resets += 1
                if self._panicked:
                    self._bad, self._panicked, self.listens = None, False, True
            case "qemu" if message["name"] == "BLOCK_IO_ERROR":
                self.listens = False  # QEMU has stopped it
                about = message["data"]
                is_read = about.get("operation") == "read"
                done, hint = ("read", "see the host's dmesg") if is_read else ("written", _FULL)
                reason = about.get("reason", "input/output error")
                raise HostError(f"the disk of {self._machine} cannot be {done}: {reason}", hint=hint)

    def _handle_end(self, message: dict[str, Any]) -> Never:
        if message["status"] is None and not self.booted:
            raise HostError(f"cannot start {self._machine}: {message['error']}")
        if message["status"] == -signal.SIGBUS:  # its memory is a file, which could not grow, or shrank
            raise HostError(f"{self._machine} is gone: there was no room for its memory on the disk", hint=_FULL)
        by_guest, by_host = self._errors
        reason = message["qemu"].strip() or message["error"] or _end_of_qemu(message["status"])
        if message["by_itself"] and not self.greeted:
            hint = _CONFINED if "Permission denied" in reason else _LOOK
            raise HostError(f"cannot start {self._machine}: {reason}", hint=hint)
        details = lines_of(message["console"])
        if self._is_restarting:
            # It has the options that it had before, but for the kernel, which came from the guest.
            error = by_guest if message["by_itself"] and message["status"] > 0 else by_host
            raise error(f"{self._machine} is gone: QEMU does not start with what was chosen for its boot: {reason}")
        if message["by_itself"] and message["status"] == 0 and not message["qemu"].strip():
            # It was no signal: QEMU would have printed which.
            raise by_guest(f"{self._machine} is gone: it powered itself off", details=details)
        raise by_host(f"{self._machine} is gone: {reason}", details=details)

    @property
    def _errors(self) -> tuple[type[GuestLost | BootError], type[ConnectionLost | BootError]]:
        """What a machine does that answered once, what runs in it does; what becomes of QEMU, its host."""
        return (GuestLost, ConnectionLost) if self.booted else (BootError, BootError)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the end of the console with whatever ends the block."""
        try:
            yield
        except BootError as problem:
            if problem.details:
                raise
            raise BootError(str(problem), details=self._console_tail(), hint=problem.hint) from problem

    def _console_tail(self) -> tuple[str, ...]:
        return last_lines(self._console)


def _end_of_qemu(status: int) -> str:
    """Describe, by its status, the end of a QEMU that left no message."""
    return f"QEMU was killed by {signal.Signals(-status).name}" if status < 0 else f"QEMU ended with status {status}"
