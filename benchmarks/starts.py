"""How soon a machine is there: cold, as a clone and as a fork, against QEMU and ssh by hand."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.crowd import environment
from benchmarks.measurement import Rows, Samples, at_most, bake, faster, in_turn, phase_seconds, slower
from vmtasks import events
from vmtasks.cache.snapshot import Snapshot
from vmtasks.config.paths import cache_dir
from vmtasks.errors import HostError
from vmtasks.guest import Guest
from vmtasks.machine.checkpoint import Checkpointer
from vmtasks.machine.identity import CloneIdentity
from vmtasks.machine.instance import QemuGuest
from vmtasks.machine.launch import BootSource, LaunchConfig, launch_form
from vmtasks.providers.base import BootOptions
from vmtasks.providers.qemu.provider import fork_of, launch_of
from vmtasks.providers.qemu.template import source_of
from vmtasks.qemu import migration
from vmtasks.qemu.argv import SSH_PORT, Wires, overlay_argv, qemu_argv
from vmtasks.qemu.qmp import Qmp, ports_of
from vmtasks.spec import NOTE_AT, TRANSFER_DISK_BYTES, Machine
from vmtasks.ssh.connect import Address, ssh_line

IMAGE, STOCK = "bookworm", "bookworm-stock"
COLD_AT_LEAST_TIMES_FASTER = 2.2
CLONE_RUNS_AT_MOST_S = 0.10
CLONE_AT_MOST_TIMES_BARE = 1.3
COMMAND_AT_MOST_S = 0.75
COMMAND_AT_LEAST_TIMES_FASTER = 12.0
END_AT_MOST_S = 0.05
STANDSTILL_AT_MOST_S = 0.3
FORK_RUNS_AT_MOST_S = 0.15
_LIMIT_S = 120.0
_STOCK_DEFINITION = f"""\
description = "{IMAGE} with the initrd that Debian gives it, for comparison"
from = "{IMAGE}"
packages = ["initramfs-tools", "busybox", "zstd"]   # with those that it recommends, so that it is at its best
initrd = "stock"
"""


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the moment that a machine was asked for."""

    running_s: float
    command_s: float
    """Until the first command has ended."""
    end_s: float = 0.0
    """How long its end took."""


def cold(runs: int) -> Rows:
    """Measure a boot from the disk, with our initrd, with Debian's, and by hand."""
    with _stock_image():
        bake(IMAGE, STOCK)
        machine, launch = launch_of(IMAGE, BootOptions(cold=True))
        ours, stock, bare = in_turn(
            runs,
            lambda: cold_command_s(IMAGE),
            lambda: cold_command_s(STOCK),
            lambda: _by_hand(machine, launch, BootSource()).command_s,
        )
    title = "cold boot to the first command; against "
    yield faster(f"{title}a stock initrd", COLD_AT_LEAST_TIMES_FASTER, ours, stock)
    yield slower(f"{title}QEMU and ssh by hand", None, ours, bare)


def cold_command_s(image: str, *, kernel: str = "") -> float:
    """Return the seconds from the asking for a machine to the end of its first command, booted from its disk."""
    return _ours(image, cold=True, kernel=kernel).command_s


def clone_command_s(image: str) -> float:
    """Return the seconds from the asking for a clone to the end of its first command."""
    return _ours(image).command_s


def starts(runs: int) -> Rows:
    """Measure clones, forks and checkpoints."""
    from vmtasks import boot

    bake(IMAGE)
    machine, launch = launch_of(IMAGE, BootOptions())
    template = source_of(machine, launch, cold=False, forkable=False)
    clones, bare = _starts_in_turn(runs, lambda: _ours(IMAGE), lambda: _by_hand(machine, launch, template))
    colds: Samples = tuple(cold_command_s(IMAGE) for _ in range(min(runs, 3)))
    running, command = _columns(clones)
    bare_running, bare_command = _columns(bare)
    yield at_most("a clone runs", CLONE_RUNS_AT_MOST_S, running)
    yield slower("a clone runs; against bare QEMU", CLONE_AT_MOST_TIMES_BARE, running, bare_running)
    yield at_most("first command in a clone", COMMAND_AT_MOST_S, command)
    yield slower("first command in a clone; against QEMU and ssh by hand", None, command, bare_command)
    yield faster("first command in a clone; against our own cold boot", COMMAND_AT_LEAST_TIMES_FASTER, command, colds)
    yield at_most("the end of a throw-away machine", END_AT_MOST_S, tuple(start.end_s for start in clones))
    with ExitStack() as checkpoints, boot(IMAGE, forkable=True, purpose="a measurement of checkpoints") as parent:
        checkpointer = _checkpointer(parent)
        before = parent.connection
        downtime_s = []
        for _ in range(runs):
            checkpoint = checkpointer.checkpoint("bench")
            checkpoints.callback(checkpoint.drop)  # once the parent has ended: its disk lies over it
            downtime_s.append(checkpointer.downtime_s)
        parent.succeed(["true"])
        kept = parent.connection is before and parent.connection.is_connected
        fork, launch, source = fork_of(checkpoint, BootOptions())
        forks, bare = _starts_in_turn(runs, lambda: _ours(checkpoint), lambda: _by_hand(fork, launch, source))
    effect = "keeps its ssh connection" if kept else "LOSES its ssh connection"
    title = f"a running machine of 1 GiB stands still for a checkpoint, and {effect}"
    yield at_most(title, STANDSTILL_AT_MOST_S, tuple(downtime_s))
    yield at_most("a fork runs", FORK_RUNS_AT_MOST_S, _columns(forks)[0])
    yield slower("a fork runs; against bare QEMU", None, _columns(forks)[0], _columns(bare)[0])


def _checkpointer(guest: Guest) -> Checkpointer:
    if isinstance(guest, QemuGuest) and guest.checkpointer:
        return guest.checkpointer
    raise HostError("cannot measure checkpoints: the machines are not QEMU's", hint="--on local")


def _starts_in_turn(runs: int, ours: Callable[[], Start], bare: Callable[[], Start]) -> tuple[list[Start], list[Start]]:
    pairs = [(ours(), bare()) for _ in range(runs)]
    return [one for one, _ in pairs], [another for _, another in pairs]


def _columns(starts: list[Start]) -> tuple[Samples, Samples]:
    return tuple(start.running_s for start in starts), tuple(start.command_s for start in starts)


def _ours(image: str | Snapshot, *, cold: bool = False, kernel: str = "") -> Start:
    """Start a machine, run a command, and end it. That others on this host had the slot before is not its fault."""
    from vmtasks import boot

    heard: list[tuple[float, events.Event]] = []
    with events.listening(lambda event: heard.append((time.monotonic(), event))):
        began_s = time.monotonic()
        with boot(image, cold=cold, kernel=kernel, purpose="a measurement of its start") as guest:
            guest.succeed(["true"])
            command_s = time.monotonic() - began_s
    told = [event for _, event in heard]
    waited_s = phase_seconds(told, "slot", guest.name) if cold else 0.0
    running = "start" if cold else "restore"
    running_s = (
        next(at_s for at_s, event in heard if isinstance(event, events.PhaseEnded) and event.phase == running) - began_s
    )
    return Start(running_s - waited_s, command_s - waited_s, phase_seconds(told, "stop", guest.name))


def _by_hand(machine: Machine, launch: LaunchConfig, origin: BootSource) -> Start:
    """Start the same machine with QEMU alone, and run a command with OpenSSH: what there is no way below."""
    with TemporaryDirectory(prefix="bench-", dir=cache_dir()) as room:
        directory = Path(room)
        form = launch_form(machine, origin, directory)
        began_s = time.monotonic()
        snapshot = origin.snapshot
        over = snapshot.disk if snapshot else machine.disk
        subprocess.run(overlay_argv(over, "qcow2", form.disk), check=True)
        with (directory / "transfer").open("wb") as transfer_disk:
            transfer_disk.truncate(TRANSFER_DISK_BYTES)
        ours, theirs = socket.socketpair()
        argv = qemu_argv(form, disk=form.disk, wires=Wires(control=f"socket,fd={theirs.fileno()}", console="null"))
        with (
            ours,
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], cwd=directory) as process,
        ):
            theirs.close()
            try:
                qmp = Qmp(ours)
                qmp.greet(_LIMIT_S)
                if snapshot:
                    migration.load(qmp, str(snapshot.state), lambda wait_s: _news_of(qmp, wait_s), _note(form))
                running_s = time.monotonic() - began_s
                port = ports_of(qmp.human("info usernet", timeout_s=_LIMIT_S))[str(SSH_PORT)]
                ssh = [*ssh_line(Address(port=port, access=launch.access)), "-o", "ConnectTimeout=1", "true"]
                while subprocess.run(ssh, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
                    if time.monotonic() - began_s > _LIMIT_S:
                        raise HostError("cannot measure QEMU by hand: its guest does not answer")
                return Start(running_s, time.monotonic() - began_s)
            finally:
                process.kill()


def _note(form: Machine) -> tuple[str, int, str]:
    """Return what ours find as well: without it, the guest would wait for it, and take the time from all else."""
    return str(form.transfer_disk), NOTE_AT, CloneIdentity(name=form.name).note


def _news_of(qmp: Qmp, wait_s: float) -> None:
    select.select([qmp], [], [], wait_s)


@contextmanager
def _stock_image() -> Iterator[None]:
    """Define the image with a stock initrd, for this process and as long as the block lasts."""
    with TemporaryDirectory(prefix="vmtasks-bench-") as directory:
        Path(directory, f"{STOCK}.toml").write_text(_STOCK_DEFINITION)
        before = os.environ.get("VMTASKS_IMAGES")
        with environment("VMTASKS_IMAGES", os.pathsep.join(filter(None, (directory, before)))):
            yield
