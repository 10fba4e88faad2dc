"""The supervisor: the one process that owns a machine, and sees to it that the machine goes.

It needs nothing but python3, so that the same program runs here and, over ssh, on a bigger host. Its
standard input is a leash: the first line is the plan (JSON, see :func:`main`), later lines are requests;
when it closes, for whatever reason, the machine is shut down. Its standard output is one JSON object a line:

====================  ======================================================================================
``waiting``           no slot yet; ``ahead`` lists the tickets in front, as dictionaries
``admitted``          the slot is ours
``prepared``          its disk (and a copy of a memory, where it needs one) is there
``greeted``           QEMU runs
``started``           the guest runs: ``qemu_pid``, ``version`` and ``ports`` (guest port to host port)
``panic``             the console told of a kernel panic, the first: ``line``
``out-of-memory``     the console told of a process that was killed for want of memory, the first: ``line``
``console``           the console, where the plan names no file for it: ``text``, one letter for each byte
``qemu``              an asynchronous event of QEMU's: ``name``, ``data``
``answer``            to the request ``id``: ``result`` or ``error``
``gone``              QEMU has ended and nothing is left: ``status`` (null: it never ran), whether ``by_itself``,
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
import re
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

from vmtasks import freeze
from vmtasks.child import die_with, give_up_privileges
from vmtasks.console import LAST_WORDS_BYTES, Console
from vmtasks.prepare import failure, prepare
from vmtasks.qmp import Qmp, QmpError
from vmtasks.slots import Claim, ClaimTooLargeError, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

QMP_FD = 100
CONSOLE_FD = 101
"""Where QEMU finds its control line and its serial console: the numbers that the argv names, beyond those in use."""

CONTROL_LIMIT_S = 10.0
QUIT_LIMIT_S = 3.0
EXIT_LIMIT_S = 0.5
"""How long a QEMU may take to go that never came to greet: it has failed, or nobody waits for it any more."""
LOOK_S = 1.0

_FORWARD = re.compile(r"^\s*TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)", re.MULTILINE)


class LeashClosed(Exception):
    """The caller is gone, or asked us to go."""


def tell(event: str, **fields: object) -> None:
    """Send one event to the caller."""
    data = json.dumps({"event": event, **fields}).encode() + b"\n"
    with suppress(BrokenPipeError):  # who no longer reads has let go of the leash too: that is noticed there
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]


class Leash:
    """Requests from the caller, read from standard input without ever waiting for them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._received = b""
        self.keeps = False
        """Whether the caller wants what the machine has written."""

    def fileno(self) -> int:
        """Return the descriptor to select on."""
        return self._fd

    def plan(self) -> dict[str, Any]:
        """Wait for the first line; that one the caller sends at once.

        :raise LeashClosed: there is none, or behind it a request to stop.
        """
        while not (requests := self.requests()):
            pass
        plan, *early = requests
        self._refuse(early)
        return plan

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests that have come in.

        :raise LeashClosed: standard input has ended.
        """
        data = os.read(self._fd, 65536)
        if not data:
            raise LeashClosed
        *lines, self._received = (self._received + data).split(b"\n")
        return [json.loads(line) for line in lines if line.strip()]

    def slack(self, wait_s: float, *until: Qmp | int) -> None:
        """Let *wait_s* seconds pass before QEMU serves, less if one of *until* can be read or the caller goes.

        :raise LeashClosed: standard input has ended, or asks us to stop.
        """
        watched: list[Any] = [self, *until]
        if self in select.select(watched, [], [], wait_s)[0]:
            self._refuse(self.requests())

    def _refuse(self, requests: list[dict[str, Any]]) -> None:
        for request in requests:
            if request["do"] == "stop":
                raise LeashClosed
            tell("answer", id=request["id"], error="QEMU does not run yet")


def confine(parent: int) -> None:
    """In the child, before it becomes QEMU: be killed when the supervisor ends, and have no privileges until then."""
    die_with(parent)
    give_up_privileges()


def hold(path: str, mode: int) -> int:
    """Take a flock on *path* that lasts as long as this process; return the descriptor."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        raise BlockingIOError(problem.errno, "somebody else has it locked", path) from problem
    return fd


class Machine:
    """A running QEMU, its control line and its console."""

    def __init__(self, plan: dict[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        screen, serial = socket.socketpair()
        os.dup2(theirs.fileno(), QMP_FD, inheritable=True)
        os.dup2(serial.fileno(), CONSOLE_FD, inheritable=True)
        parent = os.getpid()
        self._log = plan["qemu_log"]
        self._greeted = False
        self.console = Console(
            screen,
            plan["console"],
            on_panic=lambda line: tell("panic", line=line),
            on_out_of_memory=lambda line: tell("out-of-memory", line=line),
            on_text=lambda text: tell("console", text=text),
        )
        self.qmp = Qmp(ours)
        with theirs, serial, open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                plan["argv"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(QMP_FD, CONSOLE_FD),
                cwd=plan.get("cwd") or plan["directory"],
                preexec_fn=lambda: confine(parent),  # noqa: PLW1509 - there is but one thread here
            )
        os.close(QMP_FD)
        os.close(CONSOLE_FD)
        self.ended = os.pidfd_open(self.process.pid)

    def greet(self, leash: Leash) -> dict[str, Any]:
        """Return what QEMU says of itself: process, version, and guest ports to the host ports that it picked.

        :raise QmpError: it does not greet.
        :raise LeashClosed: the caller went before it did.
        """
        deadline_s = time.monotonic() + CONTROL_LIMIT_S
        leash.slack(CONTROL_LIMIT_S, self.qmp)
        version = self.qmp.greet(deadline_s - time.monotonic())
        self._greeted = True
        network = self.qmp.human("info usernet", limit_s=deadline_s - time.monotonic())
        return {"qemu_pid": self.process.pid, "version": version, "ports": ports_of(network)}

    def watch(self, leash: Leash) -> None:
        """Serve the caller's requests until QEMU has ended.

        :raise LeashClosed: the caller is gone, or asked us to stop.
        """
        watched: list[Any] = [leash, self.qmp, self.console, self.ended]
        self.tell_events()
        while True:
            ready = select.select(watched, [], [], LOOK_S)[0]  # SIGTERM may have come just before: look again
            if self.console in ready and not self.console.pump():
                watched.remove(self.console)
            if self.qmp in ready:
                try:
                    self.qmp.pump()
                except QmpError:
                    watched.remove(self.qmp)
                self.tell_events()
            if leash in ready:
                for request in leash.requests():
                    self.serve(request, leash)
            if self.ended in ready:
                return

    def serve(self, request: dict[str, Any], leash: Leash) -> None:
        """Do what one request asks for."""
        if request["do"] == "stop":
            self.wait_gone(request.get("limit_s", 0.0), leash)
            leash.keeps = request.get("keep", False)
            raise LeashClosed
        try:
            tell("answer", id=request["id"], result=self.answer(request, leash))
        except OSError as problem:
            tell("answer", id=request["id"], error=cause(problem))
        except subprocess.CalledProcessError as problem:
            tell("answer", id=request["id"], error=failure(problem))
        self.tell_events()

    def answer(self, request: dict[str, Any], leash: Leash) -> Any:  # noqa: ANN401 - whatever QEMU returns
        """Return what a request asks for."""
        if request["do"] == "freeze":
            stood_still_s = freeze.freeze(self.qmp, request, lambda left_s: leash.slack(left_s, self.qmp))
            for path in request["hold"]:  # its disk lies over the frozen one from now on
                hold(path, fcntl.LOCK_SH)
            return stood_still_s
        return self.qmp.execute(request["execute"], request.get("arguments"), limit_s=CONTROL_LIMIT_S)

    def tell_events(self) -> None:
        """Pass QEMU's own events on."""
        for event in self.qmp.events:
            tell("qemu", name=event["event"], data=event.get("data", {}))
        self.qmp.events.clear()

    def wait_gone(self, limit_s: float, *leash: Leash) -> bool:
        """Give QEMU *limit_s* seconds to end of its own accord, while the console is kept flowing.

        :raise LeashClosed: the caller on the *leash*, if one is given, is gone.
        """
        deadline_s = time.monotonic() + limit_s
        watched: list[Any] = [self.console, self.ended, *leash]
        while (left_s := deadline_s - time.monotonic()) > 0:
            ready = select.select(watched, [], [], min(left_s, LOOK_S))[0]
            if self.ended in ready:
                return True
            for caller in leash:
                if caller in ready:
                    caller.requests()
            if self.console in ready and not self.console.pump():
                watched.remove(self.console)
        return False

    def end(self, error: str = "") -> dict[str, Any]:
        """End QEMU: by ``quit``, which leaves its disk in order, or by force; return the last words on it."""
        deadline_s = time.monotonic() + (QUIT_LIMIT_S if self._greeted else EXIT_LIMIT_S)
        by_itself = True
        with suppress(QmpError):  # it may have ended, or be beyond answering: then the kill below serves
            self.qmp.execute("quit", limit_s=deadline_s - time.monotonic())
            by_itself = False
        if not self.wait_gone(deadline_s - time.monotonic()):
            self.process.kill()
            by_itself = False
        status = self.process.wait()
        self.console.close()
        with open(self._log, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LAST_WORDS_BYTES))
            qemu = log.read().decode(errors="replace")
        console = self.console.tail()
        return {"status": status, "by_itself": by_itself, "error": error, "qemu": qemu, "console": console}


def ports_of(network: str) -> dict[str, int]:
    """Return the ports that QEMU picked, by those of the guest, from what ``info usernet`` says."""
    return {guest: int(host) for host, guest in _FORWARD.findall(network)}


def supervise(plan: dict[str, Any], leash: Leash, stack: ExitStack) -> dict[str, Any]:
    """Carry out the plan; return the last words on QEMU, which has ended."""
    directory = plan["directory"]
    os.makedirs(directory, mode=0o700)
    if not plan.get("keep_directory"):
        stack.callback(remove, directory)
    unseen = os.path.join(directory, "lease.new")
    lease = hold(unseen, fcntl.LOCK_EX)
    write_lease(lease, plan)
    os.rename(unseen, os.path.join(directory, "lease.json"))  # seen only once it is whole, and locked
    for path in plan["hold"]:
        hold(path, fcntl.LOCK_SH)

    slot = plan["slot"]
    limits = Limits(machines=slot["machines"], memory_mib=slot["memory_mib"])
    claim = stack.enter_context(Claim(slot["what"], slot["claim_mib"], limits, directory=slot["directory"]))
    claim.wait(lambda ahead: tell("waiting", ahead=[ticket._asdict() for ticket in ahead]), pause=leash.slack)
    tell("admitted")

    prepare(plan, leash.slack)
    for path in plan["scratch"]:  # only now: what could not be made anew is somebody else's
        stack.callback(discard, path, leash)
    tell("prepared")
    machine = Machine(plan)
    try:
        facts = machine.greet(leash)
        tell("greeted")
        if plan["load"]:
            freeze.load(machine.qmp, plan["load"], lambda left_s: leash.slack(left_s, machine.qmp), plan["note"])
        write_lease(lease, plan, **facts)
        tell("started", **facts)
        machine.watch(leash)
    except OSError as problem:  # a QmpError, or the lease could not be written
        return machine.end(cause(problem))
    except LeashClosed:
        return machine.end()
    last = machine.end()
    leash.keeps = last["status"] == 0  # it powered itself off: what becomes of its disk is the caller's business
    return last


def remove(directory: str) -> None:
    """Remove the machine's directory and all that is in it."""
    import shutil  # it comes with three compressors, which no machine's start should wait for

    shutil.rmtree(directory, ignore_errors=True)


def discard(path: str, leash: Leash) -> None:
    """Remove a file, if it is there, unless the caller wants it."""
    with suppress(FileNotFoundError):
        if not leash.keeps:
            os.unlink(path)


def write_lease(fd: int, plan: dict[str, Any], **more: object) -> None:
    """Write down whose machine this is; the lock on the file tells whether it still lives."""
    pids = {"supervisor_pid": os.getpid(), "pid_namespace": os.readlink("/proc/self/ns/pid")}
    lease = {**plan["lease"], **pids, "since_s": time.time(), "argv": plan["argv"], **more}
    content = json.dumps(lease, indent=1).encode()
    os.pwrite(fd, content, 0)
    os.ftruncate(fd, len(content))


def cause(problem: OSError) -> str:
    """Say what the kernel refused, of which file."""
    if problem.strerror is None:  # one of ours, which is a sentence already
        return str(problem)
    return f"{problem.filename}: {problem.strerror}" if problem.filename else problem.strerror


def main() -> NoReturn:
    """Read the plan from standard input and see one machine through its life.

    The plan's keys: ``directory`` (made for the machine, removed with it), ``argv`` (QEMU's), ``cwd`` (where it runs;
    there by default), ``prepare`` (commands to run before it: the overlay), ``blank`` (empty sparse files to make, with
    their sizes), ``copy`` (pairs of sparse files, the second to be made of the first), ``scratch`` (files that go at
    the end, unless the request to stop says ``keep``, or QEMU has ended by itself, with status 0), ``load`` (a frozen
    state for QEMU to go on from; null: it boots), ``note`` (what to leave in a file for a machine that does: see
    :func:`vmtasks.freeze.load`), ``hold`` (lock files of what the machine stands on), ``slot`` (``directory``,
    ``machines``, ``memory_mib``, ``claim_mib``, ``what``), ``lease`` (what to write down), ``console`` and ``qemu_log``
    (files that receive the serial console, and QEMU's own messages; a ``console`` that is null is told instead).
    """

    def let_go(*_: object) -> None:
        """Make the leash end, so that there is one way to go and it is taken between two steps, never in one."""
        on_signal(signal.SIG_IGN)  # one was enough
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, sys.stdin.fileno())
        os.close(nothing)

    def on_signal(action: Any) -> None:  # noqa: ANN401 - whatever signal.signal takes
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, action)

    on_signal(let_go)  # a terminal's signals do not come here: whoever sends one means us
    leash = Leash(sys.stdin.fileno())
    last: dict[str, Any] = {"status": None, "by_itself": False, "error": "", "qemu": "", "console": ""}
    try:
        with ExitStack() as stack:
            last |= supervise(leash.plan(), leash, stack)
    except LeashClosed:
        last["error"] = "stopped before QEMU ran"
    except subprocess.CalledProcessError as problem:
        last["error"] = failure(problem)
    except ClaimTooLargeError as problem:
        last["error"] = str(problem)
    except OSError as problem:
        last["error"] = cause(problem)
    tell("gone", **last)
    sys.exit(0)


if __name__ == "__main__":
    main()
