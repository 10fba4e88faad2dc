"""A job of LAVA's in a group of machines: each member does its own course, and there is one result of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import GuestLost, Interrupted, TestFailed, TimedOut, UsageError
from vmtasks.frameworks.lava.cases import OWN, CaseRow
from vmtasks.frameworks.lava.group_job import BootStep, CallStep, LavaGroupJob, ShellStep
from vmtasks.frameworks.lava.job import RESULTS
from vmtasks.frameworks.lava.recorder import Recorder
from vmtasks.frameworks.lava.results import MachineResults, as_yaml
from vmtasks.frameworks.lava.shell import HOME, TestShell, attachments, suites
from vmtasks.frameworks.lava.sources import read_source
from vmtasks.frameworks.lava.verdict import judge
from vmtasks.frameworks.lava.vm_group import MemberCall, VmGroup
from vmtasks.process.threads import parallel

if TYPE_CHECKING:
    from vmtasks.frameworks.lava.definition import TestDefinition
    from vmtasks.group.group import Group
    from vmtasks.group.roles import GroupMember
    from vmtasks.guest import Guest
    from vmtasks.run.run import Run

_HOST_ADDRESS = "_LAVA_VM_GROUP_HOST_IP"
_PROGRAMS = Path(__file__).with_name("guest_group")
COURSE = "course"
"""The case of a member that has not come to its end."""
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
    limits, target = job.group.group, run.output_dir(out)
    with run.group(job.group.as_roles(), wait_timeout_s=limits.wait_timeout_s, timeout_s=limits.timeout_s) as group:
        course = _Course(run=run, job=job, group=group, shells=shells, out=target, vms=VmGroup(job, group))
        group.host_finished()  # all that is sent, members send
        try:
            parallel(*(partial(course.of, member) for member in group.members))
        finally:
            course.write()
        course.judge()


def _read(job: LavaGroupJob, directory: Path) -> dict[str, list[list[TestDefinition]]]:
    """Return the definitions of each shell of each role, before any machine starts."""
    found: dict[str, list[list[TestDefinition]]] = {}
    read: dict[int, list[TestDefinition]] = {}
    """By the identities of the shells: several roles may have the same, and one role may have it many times."""
    scratch = (directory / "lava-sources" / str(number) for number in count(1))
    for role, steps in job.course.items():
        shells = [step for step in steps if isinstance(step, ShellStep)]
        for step in shells:
            if id(step) not in read:
                read[id(step)] = [read_source(source, scratch=next(scratch)) for source in step.sources]
        found[role] = [read[id(step)] for step in shells]
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
    at_end: set[str] = field(default_factory=set)
    """The members that have done all that they had to."""
    vms: VmGroup

    def __post_init__(self) -> None:
        for member in self.group.members:
            self.results[member.name] = MachineResults(machine=member.name, directory=member.name)

    def of(self, member: GroupMember) -> None:
        """Do what a member has to, and tell the others when it has done it."""
        try:
            self.vms.begin(member)
            self._steps(member)
            self.at_end.add(member.name)
        except BaseException as problem:
            ends_all = self._ends_all(member, problem)
            row = self._put_down(member, problem)
            if ends_all:
                raise  # the run's own end tells why, and no event is needed here
            row.emit(member.name)
            events.emit(events.Note(machine=member.name, text=row.message, level="warning"))
        finally:
            self.vms.end(member)
            self.group.finished(member)

    def _ends_all(self, member: GroupMember, problem: BaseException) -> bool:
        """Tell whether the run ends with what has ended a member's course; the group ends at once if it has to."""
        if isinstance(problem, GuestLost):
            self.group.lost(member, problem)
            return member.is_essential
        if self.group.missing(member):  # it may be: the group has begun without it
            return False
        is_fatal = member.is_essential or not isinstance(problem, TimedOut)
        if isinstance(problem, TestFailed):
            is_fatal = member.is_essential and not self.job.goes_on
        if is_fatal:
            self.group.fail(problem)
        return is_fatal and not isinstance(problem, TestFailed)

    def write(self) -> None:
        """Write down what all have told."""
        for name, results in self.results.items():
            if name not in self.at_end and not any(row.name == COURSE and row.suite == OWN for row in results.rows):
                results.rows.append(CaseRow(suite=OWN, name=COURSE, result="fail", message="it did not begin"))
        is_complete = not self.incomplete and self.at_end == {*self.results}
        text = as_yaml(self.results.values(), job=self.run.directory.name, is_complete=is_complete)
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
            if isinstance(step, CallStep):
                call = MemberCall(
                    self.group, member, step.verb, step.id, pairs=step.pairs, role=step.role, timeout_s=step.timeout_s
                )
                call.wait()
                continue
            if has_booted and not (isinstance(step, ShellStep) and (step.is_of_commands or not has_run)):
                self.vms.wait_for_guests(member)
            if isinstance(step, BootStep):
                if has_booted:
                    guest.reboot()
                has_booted = True
                continue
            has_booted, has_run = True, has_run or not step.is_of_commands
            definitions = suites(next(shells), first=first)
            first += len(definitions)
            if definitions:
                scratch = self.run.directory / "lava-shells" / member.name / str(number)
                self._shell(member, guest, definitions, step, scratch)

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
        address = {_HOST_ADDRESS: self.group.address_of(member)} if self.vms.is_host(member) else {}
        shell = TestShell(
            definitions=definitions,
            scratch=scratch,
            mapping=self.job.mapping,
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
            raise TestFailed(f"a test of {member.name} has ended its tests: {recorder.raised}")

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

    def _put_down(self, member: GroupMember, problem: BaseException) -> CaseRow:
        """Put down that a member has not come to its end, as a case of its own."""
        row = CaseRow(suite=OWN, name=COURSE, result="fail", message=str(problem) or type(problem).__name__)
        self.results[member.name].rows.append(row)
        if not any(name == member.name for name, _ in self.incomplete):  # which would tell why
            self.incomplete.append((member.name, row.name))
        return row


def _named(member: str, row: CaseRow) -> CaseRow:
    """Return a row by which the verdict tells machines apart."""
    if row.suite == OWN:
        return replace(row, name=f"{member}: {row.name}")
    return replace(row, suite=f"{member}: {row.suite}")
