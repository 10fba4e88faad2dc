"""The life of one machine: a slot, a start, an answer, an end. Every way out of the block ends it."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError, InfrastructureError, StillRunning, TestFailed, TimeLimit
from vmtasks.guest import Guest
from vmtasks.guest.transfer_disk import Exchange
from vmtasks.host import capacity
from vmtasks.host.sparse import copy_extents
from vmtasks.machine.checkpoint import Checkpointer, basis_of, machine_as_data
from vmtasks.machine.identity import Wake
from vmtasks.machine.launch import Berth, Keeping, Origin, copies_of, stands_on, start_form
from vmtasks.process.user import own_name
from vmtasks.qemu.argv import EXCHANGE, SSH_PORT, overlay_argv, qemu_argv
from vmtasks.spec import EXCHANGE_BYTES, NOTE_AT, Machine
from vmtasks.ssh.connect import Address, connect, pinned, ssh_line
from vmtasks.ssh.session import Session
from vmtasks.supervisor.client import SupervisorClient, supervised
from vmtasks.supervisor.watch import TURN_S, News

if TYPE_CHECKING:
    from vmtasks.ssh.connect import Connection

START_LIMIT_S = 60.0
FROM_DISK = Origin()
WAKE_LIMIT_S = 60.0
ANSWER_LIMIT_S = 3.0
"""How long QEMU may take to say that it runs, on a host that is well."""
WAKE_STAGGER_S = 5.0
"""A copied machine listens already: a second attempt beside the first would only slow that down."""


@contextmanager
def living(machine: Machine, berth: Berth, origin: Origin = FROM_DISK) -> Iterator[Guest]:
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
    place = berth.place
    directory = place.cache() / "machines" / f"{machine.name}-{os.getpid()}-{secrets.token_hex(4)}"
    console, qemu_log = _log_files(machine, berth, directory, attempt)
    form = start_form(machine, origin, directory)
    wake = Wake(name=machine.name) if origin.frozen else None
    files = {"directory": directory, "console": console, "qemu_log": qemu_log}
    plan = _plan(machine, form, berth, origin, wake) | {name: str(path) for name, path in files.items()}
    supervisor_log = berth.logs / f"{machine.name}-supervisor.log" if berth.logs else Path(os.devnull)
    with supervised(plan, log=supervisor_log, place=place) as leash, _one_log(berth.console, leash, attempt):
        news = News(leash, machine.name, console)
        with events.phase("slot", machine=machine.name):
            news.wait_for("admitted", Deadline.after(None))
        with events.phase("overlay", machine=machine.name, detail="disk"):
            news.wait_for("prepared", Deadline.after(None if berth.keeping.copy else START_LIMIT_S))
        with events.phase("start", machine=machine.name, detail=f"{origin.kind}, {berth.choice.accelerator}"):
            news.wait_for("greeted", Deadline.after(START_LIMIT_S))
            news.greeted = True
        with events.phase("load", machine=machine.name, detail="state") if origin.frozen else nullcontext():
            started = news.wait_for("started", Deadline.after(START_LIMIT_S))
        port = int(started["ports"][str(SSH_PORT)])
        address = Address(port=port, access=berth.access)
        connection = _first_connection(address, machine, berth, wake, news)
        if berth.access.known_hosts is None:
            address = replace(address, access=pinned(berth.access, connection, directory / "known_hosts"))
        freezer = _freezer(machine, form, leash, berth, origin)
        ssh = ssh_line(address)
        # The file of another host's disk is out of reach: files go over ssh there.
        exchange = Exchange(form.exchange, partial(_moved_bytes, leash)) if form.exchange and place.is_here else None
        if wake and exchange:
            exchange.empty()  # what random numbers began with is nobody's business any more
        session = Session(
            machine.name,
            connection,
            lambda deadline: connect(address, deadline, news.watch),
            news.watch,
            host_is_well=lambda: place.is_here and _runs(leash),  # elsewhere, it may be the way there
        )
        guest = Guest(
            session,
            exchange=exchange,
            freeze=freezer.checkpoint if freezer else None,
            logs=berth.logs,
            heartbeat_s=berth.settings.heartbeat_s,
            is_here=place.is_here,
            facts={
                "ssh": ssh,
                "address": address,
                "directory": directory,
                "console": console,
                "leash": leash,
                "freezer": freezer,
                "origin": origin,
            },
        )
        news.booted = True
        events.emit(
            events.MachineStarted(
                machine=machine.name,
                image=berth.image,
                image_key=berth.baked.key if berth.baked else "",
                manifest=berth.baked.manifest if berth.baked else {},
                argv=tuple(str(word) for word in plan["argv"]),
                accelerator=berth.choice.accelerator,
                why_accelerator=berth.choice.why,
                start=origin.kind,
                why_start=origin.why,
                ssh=shlex.join(ssh),
                on=place.name,
                attempt=attempt,
                console=console,
            )
        )
        went_well = False
        try:
            yield guest
            went_well = True
        finally:
            with events.phase("stop", machine=machine.name):
                # What ends badly, or because somebody has had enough, does not wait for a guest to power off.
                power_off = went_well and not machine.throw_away
                _end(guest, leash, berth.keeping if power_off else None, listens=news.listens)


def _log_files(machine: Machine, berth: Berth, directory: Path, attempt: int) -> tuple[Path, Path]:
    """Return the files of this host that receive the console and what QEMU says: among the logs, or in *directory*.

    :raise HostError: they cannot be written.
    """
    suffix = f"-{attempt}" if attempt > 1 else ""
    is_here = berth.place.is_here
    if berth.logs:
        own = berth.logs.absolute() / f"{machine.name}-console{suffix}.log"
    else:
        own = directory / "console.log" if is_here else Path(os.devnull)
    try:
        for parent in (berth.logs, directory.parent if is_here else None):
            if parent:
                parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise HostError(f"cannot write to {problem.filename}: {problem.strerror}") from problem
    return berth.console.absolute() if berth.console else own, own.with_name(own.name.replace("console", "qemu"))


@contextmanager
def _one_log(console: Path | None, leash: SupervisorClient, attempt: int) -> Iterator[None]:
    """Where one file has the console of every attempt, part them there, and add what QEMU had to say."""
    if console is None:
        yield
        return
    if attempt > 1:
        with console.open("a") as file:
            file.write(f"\n--- attempt {attempt} ---\n")
    try:
        yield
    finally:
        leash.stop()
        if said := leash.last()["qemu"]:
            with console.open("a") as file:
                file.write(f"\n{said}")


def _freezer(
    machine: Machine, form: Machine, leash: SupervisorClient, berth: Berth, origin: Origin
) -> Checkpointer | None:
    if berth.baked is None:
        return None
    about = {"image": berth.image, "baked": str(berth.baked.directory), "machine": machine_as_data(machine)}
    basis = partial(berth.place.call, basis_of, machine, berth.baked)
    return Checkpointer(form, leash, basis=basis, stands_on=stands_on(berth, origin), about=about, place=berth.place)


def _first_connection(address: Address, machine: Machine, berth: Berth, wake: Wake | None, news: News) -> Connection:
    """Return the connection that makes a machine ready: a copied one is woken over it."""
    with news.shown(), ExitStack() as phases:
        phase = ""

        def enter(next_phase: str, detail: str) -> None:
            nonlocal phase
            if next_phase != phase:  # a guest may greet many a time before it lets us in
                phase = next_phase
                phases.close()
                phases.enter_context(events.phase(phase, machine=machine.name, detail=detail))

        if wake is not None:
            enter("ssh", "and the machine's own clock, random numbers and name")
            return connect(address, Deadline.after(WAKE_LIMIT_S), news.watch, wake, stagger_s=WAKE_STAGGER_S)
        enter("boot", "kernel and userland")
        limit = Deadline.after(berth.settings.boot_limit_s)
        first_look_s = time.monotonic() + berth.first_look_s
        while (wait_s := first_look_s - time.monotonic()) > 0 and not limit.passed:
            news.watch(limit.within(min(wait_s, TURN_S)))
        return connect(address, limit, news.watch, on_greeting=lambda: enter("ssh", "the first command"))


def _end(guest: Guest, leash: SupervisorClient, keeping: Keeping | None, *, listens: bool) -> None:
    """End the machine at once, or let it power itself off, within a limit.

    :param listens: whether there is a kernel to power it off.
    :raise StillRunning: it did not.
    """
    if keeping is None:
        guest.close()
        leash.stop()
        return
    listens = listens and keeping.power_off_limit_s > 0  # one that is given no time need not be asked
    deadline = Deadline.after(keeping.power_off_limit_s)
    if listens and not _asked_to_power_off(guest, keeping):
        with suppress(BootError):  # it is gone already
            leash.qmp("system_powerdown")
    guest.close()
    leash.stop(grace_s=deadline.left_s if listens else 0.0, keep=True)
    last = leash.last()
    if last["status"] is not None:  # else its supervisor was killed, and nobody knows what the disk is worth
        for work, place in keeping.move:
            _move(work, place)
    if not (last["by_itself"] and last["status"] == 0):
        limit = f"within {keeping.power_off_limit_s:g} s" if listens else "any more"
        raise StillRunning(f"{guest.name} did not power itself off {limit}: its disk may not be whole")


def _asked_to_power_off(guest: Guest, keeping: Keeping) -> bool:
    if keeping.power_off is None:
        return False
    try:
        return guest.run(keeping.power_off, timeout_s=keeping.power_off_limit_s).ok
    except (InfrastructureError, TestFailed, TimeLimit):  # whoever no longer listens still has a power button
        return False


def _move(work: Path, place: Path) -> None:
    """Move a disk, to another file system if need be; *place* is a whole disk at every moment, the old or the new."""
    try:
        if place.exists():  # who may read it is not for us to change
            shutil.copymode(place, work)
        try:
            work.replace(place)
        except OSError as problem:
            if problem.errno != errno.EXDEV:
                raise
            beside = place.with_name(f".{place.name}.part")
            beside.unlink(missing_ok=True)
            copy_extents(str(work), str(beside))
            shutil.copymode(work, beside)
            beside.replace(place)
            work.unlink()
    except OSError as problem:
        raise HostError(f"cannot move {work} to {place}: {problem.strerror}") from problem


def _runs(leash: SupervisorClient) -> bool:
    """Tell whether QEMU answers, and the machine runs, or has come to an end by itself."""
    try:
        status = leash.qmp("query-status", limit_s=ANSWER_LIMIT_S)["status"]
        return status in ("running", "shutdown", "guest-panicked")
    except BootError:
        return False


def _moved_bytes(leash: SupervisorClient) -> int:
    """Return how much the guest has read from the exchange, and written to it; 0 where QEMU does not say."""
    try:
        found = [one["stats"] for one in leash.qmp("query-blockstats") if one.get("device") == EXCHANGE]
    except BootError:  # it is for show: if the machine is gone, whoever watches it says so
        return 0
    return sum(int(stats["rd_bytes"]) + int(stats["wr_bytes"]) for stats in found)


def _plan(machine: Machine, form: Machine, berth: Berth, origin: Origin, wake: Wake | None) -> dict[str, Any]:
    """Return the supervisor's orders, but for the names of its own files."""
    frozen = origin.frozen
    settings = berth.settings
    usual = berth.place.call(capacity.default_limits, emulated=berth.choice.accelerator == "tcg")
    return {
        "argv": qemu_argv(form, disk=form.disk),
        "cwd": str(Path.cwd()) if form.extra else None,  # a caller's own arguments may name files beside the caller
        "prepare": [overlay_argv(machine.disk, machine.disk_format, form.disk)]
        if form.throw_away and not frozen
        else berth.keeping.prepare,
        "blank": [[str(form.exchange), EXCHANGE_BYTES]] if form.exchange else [],
        "copy": [[*map(str, pair)] for pair in (copies_of(form, frozen) if frozen else berth.keeping.copy)],
        "scratch": [str(work) for work, _ in berth.keeping.move],
        "load": str(frozen.state) if frozen else None,
        "note": [str(form.exchange), NOTE_AT, wake.note] if wake and form.exchange else None,
        "hold": [*map(str, stands_on(berth, origin))],
        "slot": {
            "directory": None,
            "machines": settings.machines or usual.machines,
            "memory_mib": settings.memory_mib or usual.memory_mib,
            "claim_mib": machine.memory_mib,
            # Who waits there does not know our users.
            "what": berth.what if berth.place.is_here else f"{berth.what}, of {own_name()} at {socket.gethostname()}",
        },
        "lease": {
            "name": machine.name,
            "image": berth.image,
            "user": own_name(),
            "what": berth.what,
            "caller_pid": os.getpid(),
            "memory_mib": machine.memory_mib,
        },
    }
