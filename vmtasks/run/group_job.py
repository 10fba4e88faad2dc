"""The tests of a group that a file describes: each member runs its own, and the host's side the host's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks.errors import GuestLost, TestFailed, TimedOut, VmtasksError

if TYPE_CHECKING:
    from vmtasks.group.group import Group
    from vmtasks.group.job import GroupJob, TestSettings
    from vmtasks.group.roles import GroupMember
    from vmtasks.run.run import Run


def run_group_job(run: Run, path: str | Path) -> None:
    """Start the group of machines that a file describes, and run its tests, each a test case: docs/groups.md.

    :raise UsageError: the file cannot be read, or describes no group that can be.
    """
    from vmtasks.group.job import GroupJob
    from vmtasks.process.threads import parallel

    job = GroupJob.load(Path(path))
    limits = job.group
    with run.group(job.as_roles(), wait_timeout_s=limits.wait_timeout_s, timeout_s=limits.timeout_s) as group:
        in_members = (partial(_in_member, run, group, job, member) for member in group.members)
        parallel(*in_members, partial(_on_host, run, group, job))


def _in_member(run: Run, group: Group, job: GroupJob, member: GroupMember) -> None:
    """Run the tests of a member, one after the other; that one fails does not keep the next from being run."""
    if why := group.missing(member):
        for test in job.tests_of(member.role):
            with run.case(f"{member.name}: {test.name}", continue_on_error=True):
                raise TestFailed(f"it was not run: {why}")
        return
    guest = group.guests(member.name)[0]
    try:
        for test in job.tests_of(member.role):
            with run.case(f"{member.name}: {test.name}", continue_on_error=True, guest=guest):
                timeout_s = test.timeout_s or job.group.test_timeout_s
                guest.run(test.run, user=test.user, env=test.env, timeout_s=timeout_s)
    except GuestLost as problem:
        group.lost(member, problem)
        if member.is_essential:
            raise  # what is not essential is a failed case, and no more
    except VmtasksError as problem:
        group.fail(problem)
        raise
    finally:
        group.finished(member)


def _on_host(run: Run, group: Group, job: GroupJob) -> None:
    """Run the tests that are for the host's side, and tell the members when they are over."""
    from vmtasks.group.roles import HOST

    tests = job.tests_of(HOST)
    try:
        if tests:
            _run_on_host(run, group, job, tests)
    finally:
        group.host_finished("the tests of the host have ended" if tests else "")


def _run_on_host(run: Run, group: Group, job: GroupJob, tests: Sequence[TestSettings]) -> None:
    """Run tests on this host; each has the lines that open a shell in the members."""
    from vmtasks.group.roles import HOST
    from vmtasks.process.host_commands import host_commands

    with host_commands() as host:
        for number, test in enumerate(tests, 1):
            log = run.directory.absolute() / f"host-{number:02d}.log"
            with run.case(f"{HOST}: {test.name}", continue_on_error=True):
                line = f'exec >"$VMTASKS_LOG" 2>&1 </dev/null\n{test.run}'
                env = {**group.ssh_env(), **test.env, "VMTASKS_LOG": str(log)}
                timeout_s = test.timeout_s or job.group.test_timeout_s
                try:
                    status = host.run(["/bin/sh", "-c", line], env=env, timeout_s=timeout_s, watch=group.watch)
                except TimedOut as problem:
                    group.fail(problem)
                    raise
                if status:
                    lines = tuple(log.read_text(errors="replace").splitlines()[-15:])
                    raise TestFailed(f"its commands ended with status {status}", details=lines)
