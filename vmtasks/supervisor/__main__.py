"""The supervisor: the one process that owns a machine, and sees to it that the machine goes.

It needs nothing but python3, so that the same program runs here and, over ssh, on a bigger host. Its
standard input is its line to the caller: the first line is the plan (:mod:`vmtasks.supervisor.plan`), later lines
are requests; when it closes, for whatever reason, the machine is shut down. Its standard output is one JSON object a
line:

====================  ======================================================================================
``waiting``           no slot yet; ``ahead`` lists the tickets in front, as dictionaries
``admitted``          the slot is ours
``prepared``          its disk (and a copy of a memory, where it needs one) is there
``greeted``           QEMU runs
``started``           the guest runs: ``qemu_pid``, ``version`` and ``ports`` (guest port to host port)
``restarting``        the machine was reset, and boots with another command line of QEMU's, which is about to start
``restarted``         it runs: what ``started`` has
``panic``             the console told of a kernel panic, the first: ``line``
``out-of-memory``     the console told of a process that was killed as memory ran out, the first: ``line``
``overfull``          more was written than the plan allows, and QEMU is ended: ``written_mib``, the limit
``expired``           the machine has lived as long as it may, and QEMU is ended: ``lifetime_s``
``console``           the console, where the plan names no file for it: ``text``, one letter for each byte
``sample``            of a machine that is profiled: ``sample``, see :mod:`vmtasks.supervisor.sampler`
``qemu``              an asynchronous event of QEMU's: ``name``, ``data``
``answer``            to the request ``id``: ``result`` or ``error``
``exited``            QEMU has ended and nothing is left: ``status`` (null: it never ran), whether ``by_itself``,
                      ``error``, the end of ``qemu``'s own messages and of the ``console``. The last line.
====================  ======================================================================================

QEMU dies with the supervisor (PR_SET_PDEATHSIG, prctl(2)), and locks and slots are flock(2) locks, which the kernel
releases: even ``kill -9`` on the supervisor leaves no machine, only files, which its caller removes. QEMU has no
privileges, not even root's, and never gets the caller's standard streams, so it can never keep a pipe of theirs open.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

from vmtasks.host.availability import ALWAYS, Rules
from vmtasks.host.flock import flock
from vmtasks.host.slots import Claim, ClaimTooLargeError, Limits
from vmtasks.qemu import migration
from vmtasks.supervisor.control import CallerGone, ControlChannel, emit, os_error_text
from vmtasks.supervisor.disks import failure, prepare
from vmtasks.supervisor.lifetime import Lifetime
from vmtasks.supervisor.plan import PlanError
from vmtasks.supervisor.qemu_process import QemuProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from vmtasks.supervisor.plan import Plan


def supervise(plan: Plan, control: ControlChannel, stack: ExitStack) -> dict[str, Any]:
    """Carry out the plan; return the last words on QEMU, which has ended."""
    directory = plan.directory
    os.makedirs(directory, mode=0o700)
    stack.callback(remove, directory)
    unseen = os.path.join(directory, "lease.new")
    lease = flock(unseen, fcntl.LOCK_EX | fcntl.LOCK_NB)
    write_lease(lease, plan)
    os.rename(unseen, os.path.join(directory, "lease.json"))  # seen only once it is whole, and locked
    for path in plan.hold:
        flock(path, fcntl.LOCK_SH | fcntl.LOCK_NB)

    slot = plan.slot
    limits = Limits(machines=slot.machines, memory_mib=slot.memory_mib)
    rules = Rules(*slot.rules) if slot.rules else ALWAYS
    claim = stack.enter_context(Claim(slot.purpose, slot.claim_mib, limits, directory=slot.directory, rules=rules))
    claim.wait(lambda ahead: emit("waiting", ahead=[ticket._asdict() for ticket in ahead]), pause=control.wait)
    emit("admitted")

    prepare(plan, control.wait)
    for path in plan.scratch:  # only now: what could not be made anew is another process's
        stack.callback(discard, path, control)
    emit("prepared")
    machine = QemuProcess(plan)
    try:
        facts = machine.greet(control)
        emit("greeted")
        if plan.load:
            migration.load(machine.qmp, plan.load, lambda left_s: control.wait(left_s, machine.qmp), plan.note)
        began = {**facts, "since_s": time.time()}

        def tell_new_process(facts: dict[str, Any]) -> None:
            began.update(facts)
            machine.lifetime.tell_again()

        machine.on_new_process = tell_new_process
        machine.lifetime = Lifetime(plan.lifetime_s, lambda until_s: write_lease(lease, plan, **began, until_s=until_s))
        emit("started", **facts)
        machine.watch(control)
    except OSError as problem:  # a QmpError, or the lease could not be written
        return machine.end(os_error_text(problem))
    except CallerGone:
        return machine.end()
    last = machine.end()
    control.keeps = last["status"] == 0  # it powered itself off: what becomes of its disk is the caller's business
    return last


def remove(directory: str) -> None:
    """Remove the machine's directory and all that is in it."""
    import shutil  # it comes with three compressors, which no machine's start should wait for

    shutil.rmtree(directory, ignore_errors=True)


def discard(path: str, control: ControlChannel) -> None:
    """Remove a file, if it is there, unless the caller wants it."""
    with suppress(FileNotFoundError):
        if not control.keeps:
            os.unlink(path)


def write_lease(fd: int, plan: Plan, **more: object) -> None:
    """Write down whose machine this is; the lock on the file tells whether it still lives."""
    pids = {"supervisor_pid": os.getpid(), "pid_namespace": os.readlink("/proc/self/ns/pid")}
    lease = {**plan.owner._asdict(), **pids, "console": plan.console, "since_s": time.time(), "argv": plan.argv, **more}
    content = json.dumps(lease, indent=1).encode()
    os.pwrite(fd, content, 0)
    os.ftruncate(fd, len(content))


def main() -> NoReturn:
    """Read the plan from standard input and see one machine through its life."""

    def close_line(*_: object) -> None:
        """Make the line end, so that there is one way to go and it is taken between two steps, never in one."""
        on_signal(signal.SIG_IGN)  # one was enough
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, sys.stdin.fileno())
        os.close(nothing)

    def on_signal(action: Any) -> None:  # noqa: ANN401 - whatever signal.signal takes
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, action)

    on_signal(close_line)  # a terminal's signals do not come here: a process that sends one means us
    control = ControlChannel(sys.stdin.fileno())
    last: dict[str, Any] = {"status": None, "by_itself": False, "error": "", "qemu": "", "console": ""}
    try:
        with ExitStack() as stack:
            last |= supervise(control.plan(), control, stack)
    except CallerGone:
        last["error"] = "stopped before QEMU ran"
    except subprocess.CalledProcessError as problem:
        last["error"] = failure(problem)
    except (PlanError, ClaimTooLargeError) as problem:
        last["error"] = str(problem)
    except OSError as problem:
        last["error"] = os_error_text(problem)
    emit("exited", **last)
    sys.exit(0)


if __name__ == "__main__":
    main()
