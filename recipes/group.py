"""group: several machines with roles, on a network of their own, as a file describes them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import Group, GuestLost, Run, TestFailed, TimedOut, VmtasksError, parallel, recipe
from vmtasks.group.job import GroupJob
from vmtasks.group.roles import HOST
from vmtasks.process.host_commands import host_commands

if TYPE_CHECKING:
    from vmtasks.group.roles import GroupMember


@recipe
def group(run: Run, job: str) -> None:
    """Start a group of machines, and run the tests of a file in them: docs/groups.md.

    :param job: the file (TOML) that says which machines there are and what is run in them.
    """
    wanted = GroupJob.load(Path(job))
    settings = wanted.group
    roles = wanted.as_roles()
    with run.group(roles, wait_limit_s=settings.wait_limit_s, limit_s=settings.limit_s) as machines:
        in_members = (partial(_in_member, run, machines, wanted, member) for member in machines.members)
        parallel(*in_members, partial(_on_host, run, machines, wanted))


def _in_member(run: Run, machines: Group, job: GroupJob, member: GroupMember) -> None:
    """Run the tests of a member, one after the other; that one fails does not keep the next from being run."""
    guest = machines.guests(member.name)[0]
    try:
        for test in job.tests_of(member.role):
            with run.case(f"{member.name}: {test.name}", continue_on_error=True, guest=guest):
                guest.run(test.run, user=test.user, env=test.env, timeout_s=test.timeout_s or job.group.timeout_s)
    except GuestLost:
        if member.is_essential:
            raise  # what is not essential is a failed case, and no more
    except VmtasksError as problem:
        machines.fail(problem)
        raise
    finally:
        machines.finished(member)


def _on_host(run: Run, machines: Group, job: GroupJob) -> None:
    """Run the tests that are for the host's side; each has the lines that open a shell in the members."""
    tests = job.tests_of(HOST)
    if not tests:
        return
    with host_commands() as host:
        for number, test in enumerate(tests, 1):
            log = run.directory.absolute() / f"host-{number:02d}.log"
            with run.case(f"{HOST}: {test.name}", continue_on_error=True):
                line = f'exec >"$VMTASKS_LOG" 2>&1 </dev/null\n{test.run}'
                env = {**machines.ssh_env(), **test.env, "VMTASKS_LOG": str(log)}
                limit_s = test.timeout_s or job.group.timeout_s
                try:
                    status = host.run(["/bin/sh", "-c", line], env=env, timeout_s=limit_s, watch=machines.watch)
                except TimedOut as problem:
                    machines.fail(problem)
                    raise
                if status:
                    lines = tuple(log.read_text(errors="replace").splitlines()[-15:])
                    raise TestFailed(f"its commands ended with status {status}", details=lines)
