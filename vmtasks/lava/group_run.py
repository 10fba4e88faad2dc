"""A job of LAVA's in a group of machines: each member does its own course, and there is one result of all."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import GuestLost, Interrupted, TestFailed, TimedOut, UsageError, VmtasksError
from vmtasks.lava.cases import OWN, CaseRow
from vmtasks.lava.group_job import BootStep, LavaGroupJob, ShellStep
from vmtasks.lava.job import RESULTS
from vmtasks.lava.recorder import Recorder
from vmtasks.lava.results import MachineResults, as_yaml
from vmtasks.lava.shell import HOME, TestShell, attachments, suites
from vmtasks.lava.sources import read_source
from vmtasks.lava.verdict import judge
from vmtasks.process.threads import parallel

if TYPE_CHECKING:
    from vmtasks.group.coordinator import Answer
    from vmtasks.group.group import Group
    from vmtasks.group.roles import GroupMember
    from vmtasks.guest import Guest
    from vmtasks.lava.definition import TestDefinition
    from vmtasks.run.run import Run

START, STOP = "lava_vm_start", "lava_vm_stop"
"""The messages with which the host has its guests begin, and with which each of them says that it has ended."""
_HOST_ADDRESS = "_LAVA_VM_GROUP_HOST_IP"
_PROGRAMS = Path(__file__).with_name("guest_group")
_TURN_S = 0.2
GUEST_HOME = HOME
"""The directory in a member for all of it; ``{member}`` in it is the member's name."""


def run_job(run: Run, job: LavaGroupJob, *, out: str = "") -> None:
    """Start the machines of a job, and run its tests in them.

    :param out: the directory for results and for what tests attach; the run's own by default.
    :raise UsageError: a definition cannot be read.
    :raise TestFailed: a case failed, or a definition did not run to its end.
    """
    for note in job.notes:
        events.emit(events.Note(text=note))
    shells = _read(job, run.directory)
    limits = job.group.group
    with run.group(job.group.as_roles(), wait_timeout_s=limits.wait_timeout_s, timeout_s=limits.timeout_s) as group:
        course = _Course(run=run, job=job, group=group, shells=shells, out=run.output_dir(out))
        try:
            parallel(*(partial(course.of, member) for member in group.members))
        finally:
            course.write()
        course.judge()


def _read(job: LavaGroupJob, directory: Path) -> dict[str, list[list[TestDefinition]]]:
    """Return the definitions of each shell of each role, before any machine starts."""
    found: dict[str, list[list[TestDefinition]]] = {}
    number = 0
    for role, steps in job.course.items():
        found[role] = []
        for step in steps:
            if isinstance(step, ShellStep):
                definitions = []
                for source in step.sources:
                    number += 1
                    definitions.append(read_source(source, scratch=directory / "lava-sources" / str(number)))
                found[role].append(definitions)
    if not any(definitions for shells in found.values() for definitions in shells):
        raise UsageError("the job runs no test: no action of its names a definition or a command")
    return found


@dataclass(kw_only=True)
class _Course:
    """What all members do."""

    run: Run
    job: LavaGroupJob
    group: Group
    shells: Mapping[str, Sequence[Sequence[TestDefinition]]]
    out: Path
    results: dict[str, MachineResults] = field(default_factory=dict)
    incomplete: list[tuple[str, str]] = field(default_factory=list)
    """The members, and their suites, that did not run to their end."""
    _ended: dict[str, threading.Event] = field(default_factory=dict)
    _started: dict[str, queue.SimpleQueue[Answer]] = field(default_factory=dict)
    """Where each guest of a host that does not begin at once learns that it may."""
    _calls: dict[str, int] = field(default_factory=dict)
    _has_started: threading.Event = field(default_factory=threading.Event)
    """Whether guests of a host may begin."""

    def __post_init__(self) -> None:
        for member in self.group.members:
            self.results[member.name] = MachineResults(machine=member.name, directory=member.name)
            self._ended[member.name] = threading.Event()
            if self._is_guest(member) and not self.job.auto_start:
                self._listen(member)

    def of(self, member: GroupMember) -> None:
        """Do what a member has to, and tell the others when it has done it."""
        try:
            if self._is_guest(member):
                self._begin(member)
            elif self.job.host_role and self.job.auto_start:
                self._send(member, START, host_ip=member.address)
            self._steps(member)
        except GuestLost as problem:
            if member.is_essential:
                raise
            self._fail(member, str(problem))
        except TestFailed as problem:
            self._fail(member, str(problem))
        except VmtasksError as problem:
            if member.is_essential or not isinstance(problem, TimedOut):
                self.group.fail(problem)
                raise
            self._fail(member, str(problem))
        finally:
            if self._is_guest(member):
                self._send(member, STOP)
            self._ended[member.name].set()
            self.group.finished(member)

    def write(self) -> None:
        """Write down what all have told."""
        text = as_yaml(self.results.values(), job=self.run.directory.name, is_complete=not self.incomplete)
        self.run.write(self.out / RESULTS, text)

    def judge(self) -> None:
        """End the job.

        :raise TestFailed: a case failed, or a definition did not run to its end.
        """
        rows = [_named(name, row) for name, results in self.results.items() for row in results.rows]
        judge(rows, [f"{member}: {suite}" for member, suite in self.incomplete])

    # --- the course of one member

    def _steps(self, member: GroupMember) -> None:
        guest = self.group.guests(member.name)[0]
        shells = iter(self.shells[member.role])
        has_booted, has_run, first = False, False, 0
        for number, step in enumerate(self.job.course[member.role]):
            if isinstance(step, BootStep):
                if has_booted:
                    self._wait_for_guests(member)
                    guest.reboot()
                has_booted = True
                continue
            if has_run and not step.is_of_commands:
                self._wait_for_guests(member)
            has_booted, has_run = True, has_run or not step.is_of_commands
            definitions = suites(next(shells), first=first)
            first += len(definitions)
            if definitions:
                self._shell(
                    member, guest, definitions, step, self.run.directory / "lava-shells" / member.name / str(number)
                )

    def _shell(
        self,
        member: GroupMember,
        guest: Guest,
        definitions: Mapping[str, TestDefinition],
        step: ShellStep,
        scratch: Path,
    ) -> None:
        """Run definitions in a member, and keep what they tell."""
        recorder = Recorder(guest.name, definitions)
        home = GUEST_HOME.format(member=member.name)
        address = {_HOST_ADDRESS: member.address} if member.role == self.job.host_role else {}
        shell = TestShell(
            definitions=definitions,
            scratch=scratch,
            timeout_s=step.timeout_s,
            helpers=(_PROGRAMS,) if self.job.host_role else (),
            env={"LAVA_JOB_ID": self.run.directory.name, **address, **self.job.environment.get(member.role, {})},
            home=home,
        )
        try:
            shell.run(guest, recorder)
        except TimedOut as problem:
            if not self.job.goes_on:
                raise
            events.emit(events.Note(machine=guest.name, text=f"{problem}; the next action follows", level="warning"))
        finally:
            self._keep(member, guest, recorder, home)
        if recorder.raised and not self.job.goes_on:
            raised = TestFailed(f"a test of {member.name} has ended its tests: {recorder.raised}")
            if member.is_essential:
                self.group.fail(raised)
            raise raised

    def _keep(self, member: GroupMember, guest: Guest, recorder: Recorder, home: str) -> None:
        results = self.results[member.name]
        results.rows += recorder.rows
        results.metadata |= recorder.metadata
        results.attachments += recorder.attachments
        self.incomplete += [(member.name, suite) for suite in recorder.incomplete]
        try:
            found = attachments(guest, recorder, self.out / member.name, project=self.run.home, home=home)
        except (TestFailed, Interrupted):
            return  # it is gone, or the group has ended, which is told already
        for path in found:
            self.run.artifact(path)

    def _fail(self, member: GroupMember, why: str) -> None:
        """Put down that a member has not come to its end, as a case of its own."""
        if not any(name == member.name for name, _ in self.incomplete):
            row = CaseRow(suite=OWN, name="course", result="fail", message=why)
            row.emit(member.name)
            self.results[member.name].rows.append(row)
            self.incomplete.append((member.name, row.name))
        events.emit(events.Note(machine=member.name, text=why, level="warning"))

    # --- the host and its guests

    def _is_guest(self, member: GroupMember) -> bool:
        return self.job.host_role not in ("", member.role)

    def _guests(self) -> list[GroupMember]:
        return [member for member in self.group.members if self._is_guest(member)]

    def _listen(self, member: GroupMember) -> None:
        """Wait for the host's message in the name of a guest, before any test of the host can send it."""
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()

        def take(answer: Answer) -> None:
            if not answer.error:
                self._has_started.set()
            answers.put(answer)

        hub = self.group.messages
        self._started[member.name] = answers
        self._calls[member.name] = serial = hub.new_call()
        hub.call(serial, member.name, "wait", START, pairs={}, take=take)

    def _begin(self, member: GroupMember) -> None:
        """Wait until the host's tests have a guest begin.

        :raise TestFailed: they have ended, and it was not to begin.
        """
        if self.job.auto_start:
            return
        hub, answers, serial = self.group.messages, self._started[member.name], self._calls[member.name]
        (host,) = (one for one in self.group.members if one.role == self.job.host_role)
        while True:
            host_has_ended = self._ended[host.name].is_set()
            try:
                self.group.check()
                answer = answers.get(timeout=_TURN_S)
                break
            except queue.Empty:
                if host_has_ended:
                    hub.withdraw(serial)
                    raise TestFailed(
                        f"{member.name} was not to begin: the tests of {host.name} have ended, and none has called "
                        "lava-start-vms"
                    ) from None
            except VmtasksError:
                hub.withdraw(serial)
                raise
        if answer.error:
            raise TestFailed(f"{member.name} could not begin: {answer.error}")
        self._has_started.set()

    def _wait_for_guests(self, member: GroupMember) -> None:
        """Have the host wait, before each shell but the first, until the tests of guests that began have ended."""
        if self._is_guest(member) or not self.job.host_role:
            return
        if not self.job.auto_start and not self._has_started.is_set():
            return
        for guest in self._guests():
            while not self._ended[guest.name].wait(_TURN_S):
                self.group.check()

    def _send(self, member: GroupMember, name: str, **pairs: str) -> None:
        """Send a message for a member."""
        hub = self.group.messages
        hub.call(hub.new_call(), member.name, "send", name, pairs=pairs, take=lambda _: None)


def _named(member: str, row: CaseRow) -> CaseRow:
    """Return a row by which the verdict tells machines apart."""
    if row.suite == OWN:
        return replace(row, name=f"{member}: {row.name}")
    return replace(row, suite=f"{member}: {row.suite}")
