"""The life of one machine: a slot, a start, an answer, an end. Every way out of the block ends it."""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtasks import events, host
from vmtasks.checkpoint import Freezer, basis_of, machine_as_data
from vmtasks.config import HostSettings, cache_dir
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, ConnectionLost, HostError, VmtasksError
from vmtasks.frozen import Frozen
from vmtasks.guest import Guest
from vmtasks.guest.exchange import Exchange
from vmtasks.guest.session import Session
from vmtasks.guest.ssh import Address, connect
from vmtasks.guest.wake import Wake
from vmtasks.image.cache import BakedImage
from vmtasks.leash import Leash, leashed
from vmtasks.parallel import check_interrupted
from vmtasks.qemu.accel import Choice
from vmtasks.qemu.argv import EXCHANGE, SSH_PORT, overlay_argv, qemu_argv
from vmtasks.spec import EXCHANGE_BYTES, NOTE_AT, Machine, Ram, Start
from vmtasks.tail import last_lines, lines_of

if TYPE_CHECKING:
    from vmtasks.guest.ssh import Connection

START_LIMIT_S = 60.0
_TURN_S = 0.5
POWER_OFF_LIMIT_S = 90.0
WAKE_LIMIT_S = 60.0
WAKE_STAGGER_S = 5.0
"""A copied machine listens already: a second attempt beside the first would only slow that down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Berth:
    """Everything around a machine that is not the machine: where it comes from and what it may use."""

    image: str
    baked: BakedImage
    choice: Choice
    settings: HostSettings
    what: str = ""
    """What it is for, in the words that others on this host read while they wait."""
    logs: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a machine starts from."""

    frozen: Frozen | None = None
    """None: it boots from its disk."""
    why: str = ""
    """Why this and nothing quicker."""
    forkable: bool = False
    """Whether its memory is to be a file of its own, so that it can be frozen in turn."""
    otherwise: Origin | None = None
    """What to start from if *frozen* does not serve; None: nothing else is the same machine."""

    @property
    def kind(self) -> Start:
        """How such a start is called."""
        if self.frozen is None:
            return "cold"
        return "clone" if self.frozen.kind == "template" else "fork"


@contextmanager
def living(machine: Machine, berth: Berth, origin: Origin = Origin()) -> Iterator[Guest]:
    """Yield the guest of a running machine.

    Boot failures, and only they, are tried again; every attempt keeps its own console log. A frozen machine that
    does not serve is dropped where there is something else to start from, and is no attempt.

    :raise HostError: this host cannot run it.
    :raise BootError: it did not come up, in as many attempts as the settings allow.
    """
    with ExitStack() as stack:
        attempts = berth.settings.attempts
        for attempt in count(1):
            try:
                guest = stack.enter_context(_attempt(machine, berth, origin, attempt))
                break
            except (BootError, HostError) as problem:
                if instead := _instead(origin, problem):
                    origin = instead
                    attempts += 1
                elif attempt == attempts or isinstance(problem, HostError):
                    raise
                text = f"{problem.sentence}; trying again ({attempt + 1} of {attempts})"
                events.emit(events.Note(machine=machine.name, text=text, level="warning"))
        yield guest


def _instead(origin: Origin, problem: BootError | HostError) -> Origin | None:
    """Return what to start from once *origin* has failed, if its frozen machine is to blame; it is dropped then."""
    if origin.frozen is None or origin.otherwise is None:
        return None
    if isinstance(problem, HostError) and origin.frozen.intact:
        return None
    origin.frozen.drop()
    return replace(origin.otherwise, why=f"the {origin.frozen.kind} did not serve: {problem.sentence}")


@contextmanager
def _attempt(machine: Machine, berth: Berth, origin: Origin, attempt: int) -> Iterator[Guest]:
    directory = cache_dir() / "machines" / f"{machine.name}-{os.getpid()}-{secrets.token_hex(4)}"
    logs = berth.logs.absolute() if berth.logs else directory.parent
    suffix = f"-{attempt}" if attempt > 1 else ""
    console = logs / f"{machine.name}-console{suffix}.log" if berth.logs else directory / "console.log"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise HostError(f"cannot write to {problem.filename}: {problem.strerror}") from problem
    form = start_form(machine, origin, directory)
    wake = Wake(name=machine.name) if origin.frozen else None
    plan = _plan(machine, form, berth, origin, wake, directory=directory, console=console)
    with leashed(plan, log=logs / f"{machine.name}-supervisor.log" if berth.logs else Path(os.devnull)) as leash:
        news = _News(leash, machine.name, console)
        with events.phase("slot", machine=machine.name):
            news.wait_for("admitted", Deadline.after(None))
        news.is_copy = origin.frozen is not None
        with events.phase("overlay", machine=machine.name, detail="disk"):
            news.wait_for("prepared", Deadline.after(START_LIMIT_S))
        with events.phase("start", machine=machine.name, detail=f"{origin.kind}, {berth.choice.accelerator}"):
            news.wait_for("greeted", Deadline.after(START_LIMIT_S))
        with events.phase("load", machine=machine.name, detail="state") if news.is_copy else nullcontext():
            started = news.wait_for("started", Deadline.after(START_LIMIT_S))
        port = int(started["ports"][str(SSH_PORT)])
        address = Address(port=port, identity=berth.baked.identity, host_key=berth.baked.host_key)
        connection = _first_connection(address, machine, berth, wake, news)
        about = {"image": berth.image, "baked": str(berth.baked.directory), "machine": machine_as_data(machine)}
        basis = partial(basis_of, machine, berth.baked)
        freezer = Freezer(form, leash, basis=basis, stands_on=stands_on(berth, origin), about=about)
        ssh = ssh_line(berth.baked, port)
        exchange = Exchange(form.exchange, partial(_moved_bytes, leash)) if form.exchange else None
        if wake and exchange:
            exchange.empty()  # what random numbers began with is nobody's business any more
        session = Session(machine.name, connection, lambda deadline: connect(address, deadline, news.watch), news.watch)
        guest = Guest(
            session,
            exchange=exchange,
            freeze=freezer.checkpoint,
            logs=berth.logs,
            heartbeat_s=berth.settings.heartbeat_s,
            facts={"ssh": ssh, "port": port, "console": console, "leash": leash, "freezer": freezer, "origin": origin},
        )
        news.booted = True
        events.emit(
            events.MachineStarted(
                machine=machine.name,
                image=berth.image,
                image_key=berth.baked.key,
                manifest=berth.baked.manifest,
                argv=tuple(str(word) for word in plan["argv"]),
                accelerator=berth.choice.accelerator,
                why_accelerator=berth.choice.why,
                start=origin.kind,
                why_start=origin.why,
                ssh=shlex.join(ssh),
                attempt=attempt,
                console=console,
            )
        )
        try:
            yield guest
        finally:
            with events.phase("stop", machine=machine.name):
                went_well = _end(machine, guest, leash)
        if not went_well:
            raise HostError(f"{machine.name} did not power itself off, so its disk may not be whole")


def start_form(machine: Machine, origin: Origin, directory: Path) -> Machine:
    """Return *machine* as it is started from *origin* in a directory of its own: a pure function."""
    own = replace(machine, exchange=directory / "exchange")
    if machine.throw_away:
        own = replace(own, disk=directory / "disk.qcow2", disk_format="qcow2")
    if origin.forkable:
        own = replace(own, ram=Ram(file=directory / "ram", shared=True))
    elif origin.frozen is not None:
        own = replace(own, ram=Ram(file=origin.frozen.ram, shared=False))
    return replace(own, waits=origin.frozen is not None)


def stands_on(berth: Berth, origin: Origin) -> tuple[Path, ...]:
    """Return the lock files of everything that the machine's disk is laid over."""
    return (berth.baked.in_use,) if origin.frozen is None else origin.frozen.holds


def _first_connection(address: Address, machine: Machine, berth: Berth, wake: Wake | None, news: _News) -> Connection:
    """Return the connection that makes a machine ready: a copied one is woken over it."""
    with news.shown(), ExitStack() as phases:

        def enter(phase: str, detail: str) -> None:
            phases.close()
            phases.enter_context(events.phase(phase, machine=machine.name, detail=detail))

        if wake is not None:
            enter("ssh", "and the machine's own clock, random numbers and name")
            return connect(address, Deadline.after(WAKE_LIMIT_S), news.watch, wake, stagger_s=WAKE_STAGGER_S)
        enter("boot", "kernel and userland")
        limit = Deadline.after(berth.settings.boot_limit_s)
        return connect(address, limit, news.watch, on_greeting=lambda: enter("ssh", "the first command"))


def _end(machine: Machine, guest: Guest, leash: Leash) -> bool:
    """A throw-away machine is dropped; one whose disk is kept powers itself off, within a limit.

    :return: whether that went as it should.
    """
    if machine.throw_away:
        guest.close()
        leash.stop()
        return True
    with suppress(VmtasksError):  # one that no longer listens is ended all the same, a line below
        guest.run(["systemctl", "--no-block", "poweroff"], timeout_s=POWER_OFF_LIMIT_S)
    guest.close()
    leash.stop(grace_s=POWER_OFF_LIMIT_S)
    last = leash.last()
    return bool(last["by_itself"] and last["status"] == 0)


class _News:
    """What the supervisor says, turned into progress or into the right exception."""

    def __init__(self, leash: Leash, machine: str, console: Path) -> None:
        self._leash = leash
        self._machine = machine
        self._console = console
        self.booted = False
        self.is_copy = False
        """Whether a frozen machine may be to blame if this one does not start."""

    def watch(self, wait_s: float) -> None:
        """Let at most *wait_s* seconds pass, or less if there is news; raise if it is bad."""
        check_interrupted()
        while (said := self._leash.next(wait_s)) is not None:
            self._consider(said)
            wait_s = 0.0

    def wait_for(self, event: str, deadline: Deadline) -> dict[str, Any]:
        """Return the next *event*.

        :raise BootError: the machine ended first, or *deadline* passed.
        """
        while not deadline.passed:
            check_interrupted()
            said = self._leash.next(deadline.within(_TURN_S))
            if said is not None and said["event"] == event:
                return said
            if said is not None:
                self._consider(said)
        raise BootError(f"{self._machine}: QEMU was not ready within {deadline.limit_s:g} s", evidence=self._evidence())

    def _consider(self, said: dict[str, Any]) -> None:
        trouble = ConnectionLost if self.booted else BootError
        match said["event"]:
            case "waiting":
                ahead = said["ahead"]
                first = ahead[0]
                text = f"waiting for a slot behind {first['what']} of {first['user']} (pid {first['pid']})"
                more = f", and {len(ahead) - 1} more" if len(ahead) > 1 else ""
                events.emit(events.Note(machine=self._machine, text=text + more))
            case "panic":
                raise trouble(f"the kernel of {self._machine} panicked: {said['line']}", evidence=self._evidence())
            case "gone" if said["status"] is None and not self.booted:
                raise (BootError if self.is_copy else HostError)(f"cannot start {self._machine}: {said['error']}")
            case "gone":
                why = said["qemu"].strip() or said["error"] or f"QEMU ended with status {said['status']}"
                raise trouble(f"{self._machine} is gone: {why}", evidence=lines_of(said["console"]))
            case "qemu" if said["name"] == "BLOCK_IO_ERROR":
                reason = said["data"].get("reason", "input/output error")
                raise HostError(
                    f"the disk of {self._machine} cannot be written: {reason}", hint="is the host's disk full?"
                )

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the end of the console with whatever ends the block."""
        try:
            yield
        except BootError as problem:
            if problem.evidence:
                raise
            raise BootError(problem.sentence, evidence=self._evidence(), hint=problem.hint) from problem

    def _evidence(self) -> tuple[str, ...]:
        return last_lines(self._console)


def _moved_bytes(leash: Leash) -> int:
    """Return how much the guest has read from the exchange, and written to it; 0 where QEMU does not say."""
    try:
        found = [one["stats"] for one in leash.qmp("query-blockstats") if one.get("device") == EXCHANGE]
    except BootError:  # it is for show: if the machine is gone, whoever watches it says so
        return 0
    return sum(int(stats["rd_bytes"]) + int(stats["wr_bytes"]) for stats in found)


def ssh_line(baked: BakedImage, port: int) -> list[str]:
    """Return the command line of an ordinary ssh into the guest, its host key checked."""
    options = {
        "IdentitiesOnly": "yes",
        "HostKeyAlias": "vmtasks",
        "UserKnownHostsFile": f'"{baked.known_hosts}"',  # ssh splits it at blanks
        "StrictHostKeyChecking": "yes",
        "LogLevel": "ERROR",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", "-i", str(baked.identity), "-p", str(port), *words, "root@127.0.0.1"]


def _plan(
    machine: Machine, form: Machine, berth: Berth, origin: Origin, wake: Wake | None, *, directory: Path, console: Path
) -> dict[str, Any]:
    frozen = origin.frozen
    settings = berth.settings
    usual = host.default_limits(emulated=berth.choice.accelerator == "tcg")
    return {
        "directory": str(directory),
        "argv": qemu_argv(form, disk=form.disk),
        "prepare": [overlay_argv(machine, form.disk)] if form.throw_away and not frozen else [],
        "blank": [[str(form.exchange), EXCHANGE_BYTES]] if form.exchange else [],
        "copy": [[*map(str, pair)] for pair in _copies(form, frozen)] if frozen else [],
        "load": str(frozen.state) if frozen else None,
        "note": [str(form.exchange), NOTE_AT, wake.note] if wake and form.exchange else None,
        "hold": [*map(str, stands_on(berth, origin))],
        "slot": {
            "directory": None,
            "machines": settings.machines or usual.machines,
            "memory_mib": settings.memory_mib or usual.memory_mib,
            "claim_mib": machine.memory_mib,
            "what": berth.what,
        },
        "lease": {
            "name": machine.name,
            "image": berth.image,
            "user": _user(),
            "what": berth.what,
            "caller_pid": os.getpid(),
            "memory_mib": machine.memory_mib,
            "identity": str(berth.baked.identity),
            "known_hosts": str(berth.baked.known_hosts),
        },
        "console": str(console),
        "qemu_log": str(console.with_name(console.name.replace("console", "qemu"))),
    }


def _copies(form: Machine, frozen: Frozen) -> Iterator[tuple[Path, Path]]:
    """Yield what a machine that starts from a frozen one has a copy of."""
    yield frozen.overlay, form.disk
    if form.ram and form.ram.shared:
        yield frozen.ram, form.ram.file


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need not have a name
        return str(os.getuid())
