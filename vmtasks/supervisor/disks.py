"""What is there before QEMU runs: the machine's disk, and a copy of a memory, where it needs one.

It may take minutes, and ends at once when the caller no longer wants the machine. Standard library only, because it
rides with the supervisor.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress

from vmtasks.host.sparse import copy_extents
from vmtasks.supervisor.confined import start_confined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vmtasks.process.landlock import Reach
    from vmtasks.supervisor.plan import Plan

    Slack = Callable[..., None]
    """Waits so many seconds, or until one of the descriptors behind them can be read; raises when no caller waits."""

_LOOK_S = 1.0


def prepare(plan: Plan, wait: Slack) -> None:
    """Carry out what a plan has under ``prepare``, ``blank`` and ``copy``.

    :raise CalledProcessError: a command failed.
    :raise OSError: the disk is full, or a file cannot be read.
    """
    for command in plan.prepare:
        with _there(command[-1]):
            _run(command, wait, plan.reach)
    for path, size_bytes in plan.blank:
        with open(path, "xb") as file:
            file.truncate(size_bytes)
    for source, target in plan.copy:
        with suppress(FileNotFoundError):  # a host that crashed may have left one
            os.unlink(target)
        copy_extents(source, target, lambda: wait(0.0))


@contextmanager
def _there(path: str) -> Iterator[None]:
    """Have a file there, so that what writes it need reach no more; one that was not there goes if the block fails."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))  # it may be a link to one that is not
        yield
        return
    try:
        yield
    except BaseException:
        with suppress(FileNotFoundError):  # qemu-img has removed what it could not fill
            os.unlink(path)
        raise


def failure(problem: subprocess.CalledProcessError) -> str:
    """Describe how a program that we called ended, and what it printed."""
    words = problem.stderr.decode(errors="replace").strip()
    return f"{problem.cmd[0]} ended with status {problem.returncode}: {words}"


def _run(command: Sequence[str], wait: Slack, reach: Reach) -> None:
    """Run a command, which is ended when we are, or when no caller waits."""
    with start_confined(command, reach, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        ended = os.pidfd_open(process.pid)
        try:
            while process.poll() is None:
                wait(_LOOK_S, ended)
        except BaseException:
            process.kill()
            raise
        finally:
            os.close(ended)
        complaint = process.stderr.read() if process.stderr else b""
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=complaint)
