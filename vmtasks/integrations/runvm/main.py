"""runvm from its command line to its exit status: one machine of the engine's, and the commands one after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from vmtasks import events
from vmtasks.config.here import task_line
from vmtasks.errors import (
    ConnectionLost,
    GuestLost,
    HostError,
    InfrastructureError,
    Outcome,
    ShutdownTimedOut,
    TimedOut,
    UsageError,
    VmtasksError,
    outcome_of,
)
from vmtasks.guest import Guest
from vmtasks.integrations.runvm.image import machine_for, reserved
from vmtasks.integrations.runvm.options import USAGE, Call, described, parse
from vmtasks.integrations.runvm.port import wait_until_free
from vmtasks.integrations.runvm.ssh_config import environment
from vmtasks.integrations.runvm.steps import GuestCommand, step_of
from vmtasks.machine.instance import QemuGuest
from vmtasks.machine.launch import LaunchConfig
from vmtasks.machine.lifecycle import running
from vmtasks.process.host_commands import HostCommands, host_commands
from vmtasks.process.signals import interrupt_on_signals
from vmtasks.process.stdout import end_with_reader
from vmtasks.report.display.plain import Plain
from vmtasks.report.display.stream import SafeStream
from vmtasks.spec import Machine
from vmtasks.ssh.command import short

FAILED = 1
"""The classic exit status of everything but a command."""
SSH_FAILED = 255
"""What ssh(1) ends with where the guest does not answer."""
_PORT_TAKEN = "host forwarding rule"
_HEAD = """
Boot a virtual machine image, wait until it answers over ssh, run the commands one after the other, and shut it down.
The first command that fails ends the run, and its status is runvm's.

A command runs in the guest, in a login of its own; a script of several lines is one command. In front of it
  =   runs it on this host instead: with $VMTASKS_PORT, and so that `scp FILE guest:` and `ssh guest` lead there
  !   runs it also after another one has failed; `=!` and `!=` are both

The image is booted in place and keeps what is written to it; with --base-image it is made anew, and stays as well.
"""
_SHOW = task_line("images.show").strip("`")
_TAIL = f"""
In what it is more than MariaDB's runvm
  - It looks for ssh at once and is done when ssh answers: --initial-sleep is 0 unless given.
  - Who has the port is never shut down, unless it is a machine of ours whose caller is gone; it is named and awaited.
  - No image is written over that is seen to carry another one: not its own base, and none of vmtasks.
  - The log file keeps what every attempt to boot has said. The console of a boot that failed is shown.
  - No machine is left behind, not even after kill -9, and neither is a host command's child in the background. A run
    that is interrupted ends at once: its image is whole as after a power cut. There is no PID file.
  - Machines wait for a slot of this host, as all of vmtasks do ({task_line("vm.ps")} shows them).
  - `=` commands get $VMTASKS_PORT, $VMTASKS_SSH_CONFIG, and ssh, scp and sftp that know the guest by the name `guest`.
  - Commands may have a limit (--command-timeout). They read nothing, unless there is a terminal on standard input and
    output, which is theirs then, or --stdin asks for it. Standard output and standard error stay apart without one;
    --terminal gives them one in any case, called $TERM.
  - The guest's host key is remembered for the run. kvm-clock stays on: --cpu=qemu64,-kvmclock has it off.
  - Images of vmtasks ({_SHOW} NAME --path) boot as well, with their own kernel and keys.

Exit status
  classic   the status of the first command that failed (255: the guest was lost; 124: --command-timeout), else 0;
            1 for everything else: usage, a boot that failed, an interrupt
  typed     0 passed, 1 a command failed or took the guest down, 64 usage, 69 host, boot or connection, 124 time limit,
            130 interrupted

Examples
  runvm --base-image=bookworm.qcow2 tmp.qcow2 "= scp hello.tar.gz guest:" "tar xzf hello.tar.gz && make -C hello check"
  runvm --port=0 --base-image="$({_SHOW} bookworm --path)" tmp.qcow2 bash
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandsResult:
    """How a run of commands ended: by its first failure, if there was one."""

    status: int = 0
    outcome: Outcome = Outcome.PASSED
    machine_is_lost: bool = False

    def exit_code(self, call: Call) -> int:
        """Return the exit status that the caller wants for it."""
        return self.outcome.exit_code if call.options.exit_codes == "typed" else self.status


def main() -> None:
    """Be the program."""
    end_with_reader()
    sys.exit(runvm(sys.argv[1:]))


def runvm(words: Sequence[str]) -> int:
    """Do what a command line says; return the exit status."""
    try:
        call = parse(words)
    except UsageError as problem:
        sys.stdout.write(f"{USAGE}\nrunvm --help says more.\n")
        _complain(problem)
        return problem.outcome.exit_code if "--exit-codes=typed" in words else FAILED
    if call is None:
        sys.stdout.write("\n".join([USAGE, _HEAD, "Options", *described(), _TAIL]))
        return 0
    try:
        return _carried_out(call).exit_code(call)
    except (VmtasksError, OSError, KeyboardInterrupt) as problem:
        _complain(problem)
        return CommandsResult(status=FAILED, outcome=outcome_of(problem)).exit_code(call)


def _carried_out(call: Call) -> CommandsResult:
    with events.listening(Plain(SafeStream(sys.stderr))), interrupt_on_signals(), host_commands() as host:
        machine, launch = machine_for(call)
        if launch.console:
            try:
                launch.console.write_bytes(b"")
            except OSError as problem:
                raise HostError(f"cannot write the log file {launch.console}: {problem.strerror}") from problem
        if launch.baked:
            launch.baked.lay_under(call.image.absolute())
        result = CommandsResult()
        try:
            with reserved(machine, launch), _on_its_port(call, machine, launch) as guest:
                result = _run(call, guest, host)
        except ShutdownTimedOut as problem:
            events.emit(events.Note(machine=machine.name, text=str(problem), level="warning"))
        return result


@contextmanager
def _on_its_port(call: Call, machine: Machine, launch: LaunchConfig) -> Iterator[QemuGuest]:
    """Start the machine once its port is free: a program that takes it before QEMU does is waited for."""
    with ExitStack() as stack:
        for last in (False, False, True):
            wait_until_free(machine.ssh_port, timeout_s=call.options.port_timeout)
            try:
                guest = stack.enter_context(running(machine, launch))
                break
            except HostError as problem:
                if last or _PORT_TAKEN not in str(problem):
                    raise
        yield guest


def _run(call: Call, guest: QemuGuest, host: HostCommands) -> CommandsResult:
    """Run the commands; the first one that fails is the verdict, and only those that always run come after it."""
    env = environment(guest.address, guest.directory)
    result = CommandsResult()
    for step in map(step_of, call.commands):
        if result.outcome is Outcome.PASSED or step.always:
            # A machine that is lost ends what runs, but not what always runs on the host after it.
            watch = _ignore if step.on_host and result.machine_is_lost else guest.watch
            one = _run_one(step, call, guest, host, env=env, watch=watch)
            result = one if result.outcome is Outcome.PASSED else result
    return result


def _ignore(_: float) -> None:
    pass


def _run_one(
    step: GuestCommand,
    call: Call,
    guest: Guest,
    host: HostCommands,
    *,
    env: Mapping[str, str],
    watch: Callable[[float], None],
) -> CommandsResult:
    _tell(f"{'=' if step.on_host else '+'} {step.line}")
    timeout_s = call.options.command_timeout
    try:
        if step.on_host:
            status = host.run(["/bin/sh", "-c", step.line], env=env, timeout_s=timeout_s, watch=watch)
        else:
            status = host.run(_ssh(step, call, guest), timeout_s=timeout_s, watch=watch)
            if status == SSH_FAILED and not guest.is_up():
                guest.query(["true"])  # which raises the error that fits
    except TimedOut as problem:
        _complain(TimedOut(f"`{short(step.line)}` did not end within {timeout_s:g} s"))
        return CommandsResult(status=problem.outcome.exit_code, outcome=problem.outcome)
    except (InfrastructureError, GuestLost) as problem:
        _complain(problem)
        is_lost = isinstance(problem, ConnectionLost | GuestLost)
        status = FAILED if step.on_host and not is_lost else SSH_FAILED
        return CommandsResult(status=status, outcome=problem.outcome, machine_is_lost=is_lost)
    if not status:
        return CommandsResult()
    _tell(f"Command exit {status}")
    return CommandsResult(status=status, outcome=Outcome.FAILED)


def _ssh(step: GuestCommand, call: Call, guest: Guest) -> list[str]:
    """Return the command that runs a line in the guest, in a login of its own."""
    ssh, *words = guest.ssh_command
    is_ours = sys.stdin.isatty() and sys.stdout.isatty()
    ours = ["-t", "-t"] if is_ours or call.options.terminal else []
    if not (is_ours or call.options.stdin):
        ours.append("-n")
    alive = ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=8", "-o", "ConnectTimeout=30"]
    return [ssh, *ours, *alive, *words, step.line]


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _complain(problem: BaseException) -> None:
    message = problem.message if isinstance(problem, VmtasksError) else str(problem) or type(problem).__name__
    _tell(f"runvm: {message}")
