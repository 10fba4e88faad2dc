"""Machines: see those that run, sweep after those that do not, have a shell in a new one."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from vmtasks.cli.table import AS_JSON, Column, age, tell
from vmtasks.config.here import page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmtasks.host.local import Host
    from vmtasks.providers.ec2.client import Ec2Client

    Answer = tuple[Sequence[Column], Sequence[Mapping[str, object]]]

_ON = "where: USER@HOST, ec2 or ec2:REGION; this host by default"


@task(help={"on": _ON, "json": AS_JSON}, auto_shortflags=False)
def ps(_: Context, on: str = "", json: bool = False) -> None:
    """List the machines that run and wait, everybody's: on this host, or where --on says."""
    from vmtasks.host.local import Host

    keeper = _keeper(on)
    columns, machines = _machines(keeper) if isinstance(keeper, Host) else _instances(keeper)
    print(tell(columns, machines, as_json=json))
    if isinstance(keeper, Host) and not json:
        _tell_availability(keeper)


def _tell_availability(place: Host) -> None:
    """Say whether a host takes new machines, unless it does and no user has declared that."""
    from vmtasks.host import declared
    from vmtasks.host.availability import EAGER

    availability = place.call(declared.current)
    if availability.state != EAGER or availability.by:
        print(f"\n{availability}")


def _machines(place: Host) -> Answer:
    """Return what runs and waits on a host."""
    from vmtasks.errors import HostError
    from vmtasks.host import slots
    from vmtasks.host.lease import leases

    try:
        tickets = place.call(slots.tickets)
    except slots.SlotsUnavailableError as problem:
        raise HostError(str(problem)) from problem
    alive = [lease.info for lease in place.call(leases) if lease.alive]
    ports = {info.get("supervisor_pid"): info.get("ports", {}).get("22") for info in alive}
    ends_s = {info.get("supervisor_pid"): info.get("until_s") for info in alive}
    # The tickets of a group are its caller's, each for its own purpose.
    of_groups = {(info.get("caller_pid"), info.get("what")): info.get("ports", {}).get("22") for info in alive}
    columns = (
        Column("state", "STATE"),
        Column("user", "USER"),
        Column("pid", "PID"),
        Column("memory_mib", "MEMORY", "{} MiB".format),
        Column("age_s", "SINCE", age),
        Column("left_s", "LEFT", age),
        Column("ssh_port", "SSH PORT"),
        Column("what", "WHAT"),
    )
    return columns, [
        {
            **{name: getattr(ticket, name) for name in ("state", "user", "pid", "memory_mib")},
            "what": ticket.purpose,
            "age_s": time.time() - ticket.since_s,
            "left_s": max(0.0, until_s - time.time()) if (until_s := ends_s.get(ticket.pid)) else None,
            "ssh_port": ports.get(ticket.pid, of_groups.get((ticket.pid, ticket.purpose))),
        }
        for ticket in tickets
    ]


def _instances(account: Ec2Client) -> Answer:
    """Return the instances of vmtasks, everybody's in this account."""
    columns = (
        Column("state", "STATE"),
        Column("user", "USER"),
        Column("id", "INSTANCE"),
        Column("type", "TYPE"),
        Column("until", "UNTIL"),
        Column("what", "WHAT"),
    )
    return columns, [
        {
            "state": one.data["State"]["Name"],
            "id": one.id,
            "type": one.data["InstanceType"],
            "user": claim.user,
            "until": claim.until,
            "what": claim.purpose,
        }
        for one in account.instances()
        for claim in [one.claim]
    ]


def _keeper(on: str) -> Host | Ec2Client:
    """Return the object that can be asked for the machines at a place.

    :raise UsageError: there is none.
    :raise HostError: it cannot be reached.
    """
    from vmtasks.host.local import LOCAL_HOST
    from vmtasks.spec import LOCAL

    if on in {"", "here", LOCAL}:  # at once: all that runs a machine need not be loaded to look at this host
        return LOCAL_HOST
    from vmtasks.errors import UsageError
    from vmtasks.providers.boot import provider_of
    from vmtasks.providers.ec2.provider import Ec2
    from vmtasks.providers.qemu.provider import Qemu, place_of

    provider = provider_of(on)
    if isinstance(provider, Ec2):
        return provider.account()
    if isinstance(provider, Qemu):
        return place_of(provider.on)
    raise UsageError(f"cannot look after machines on '{on}': it is one itself", hint=f"see {page('providers')}")


@task(
    help={"recipe": "only runs of this recipe", "last": "how many runs (default: 20)", "json": AS_JSON},
    auto_shortflags=False,
)
def times(_: Context, recipe: str = "", last: str = "20", json: bool = False) -> None:
    """Show where the time of the last runs went: seconds by phase, added up over the machines of each."""
    from vmtasks.report.timings import PHASES, Times, history
    from vmtasks.run.options import number
    from vmtasks.run.record import output

    records = []
    for run in history(output(), recipe, number("last", last, at_least=1) or 1):
        seconds = Times.of(run).seconds
        records.append(
            {
                **{key: run[key] for key in ("started", "recipe", "outcome")},
                **{f"{name}_s": seconds[name] for name in PHASES},
                "other_s": sum(seconds[name] for name in seconds if name not in PHASES),
                "all_s": run["duration_s"] or 0.0,
            }
        )
    columns = (
        Column("started", "STARTED (UTC)", lambda stamp: str(stamp)[:19]),
        Column("recipe", "RECIPE"),
        Column("outcome", "OUTCOME"),
        *(Column(f"{name}_s", name.upper(), "{:.2f}".format) for name in (*PHASES, "other")),
        Column("all_s", "IN ALL", "{:.2f}".format),
    )
    print(tell(columns, records, as_json=json))
    if not records:
        print(f"there are no runs{f' of {recipe}' if recipe else ''} in {output()}", file=sys.stderr)


@task(help={"on": _ON}, auto_shortflags=False)
def gc(_: Context, on: str = "") -> None:
    """Sweep what machines, bakes and makers of templates that were killed have left; touches nothing that lives."""
    from vmtasks.host.local import Host

    keeper = _keeper(on)
    swept = False
    for line in _left(keeper) if isinstance(keeper, Host) else keeper.sweep():
        print(f"swept {line}", flush=True)
        swept = True
    if not swept:
        print("nothing to sweep")


def _left(place: Host) -> Iterator[Path]:
    """Sweep a host, and yield what it was."""
    from vmtasks.cache import entry, snapshots
    from vmtasks.errors import HostError
    from vmtasks.host import slots
    from vmtasks.host.lease import sweep
    from vmtasks.image import baked
    from vmtasks.named import registry
    from vmtasks.remote import incoming

    if place.is_local:
        yield from registry.sweep()
    yield from (lease.directory for lease in place.call(sweep))
    yield from place.call(baked.sweep)
    yield from place.call(incoming.sweep)
    yield from place.call(snapshots.sweep)
    place.call(entry.sweep_locks)
    try:
        yield from map(Path, place.call(slots.sweep))
    except slots.SlotsUnavailableError as problem:
        raise HostError(str(problem)) from problem


@task(
    help={
        "name": "the machine's name, as its lines of output have it, its supervisor's pid (vm.ps), or ssh://HOST",
        "write": "type there as well: Ctrl-] ends it, or the end of what is piped into it",
    },
    auto_shortflags=False,
)
def console(_: Context, name: str, write: bool = False) -> None:
    """Show what a running machine of yours prints on its console, until Ctrl-C; with --write, type there."""
    from vmtasks.cli.console import attach_to, attach_to_host, look_on

    if "://" in name:
        attach_to_host(name, write=write)
    elif write:
        attach_to(name)
    else:
        look_on(name)


@task(
    help={
        "image": "the image to boot",
        "memory_mib": "memory in MiB",
        "cpus": "processors",
        "accel": "auto, kvm or tcg",
        "on": "where: as --on of a recipe",
    },
    auto_shortflags=False,
)
def shell(_: Context, image: str, memory_mib: str = "", cpus: str = "", accel: str = "", on: str = "") -> None:
    """Open root's shell in a clean machine of an image, without a project; it goes when you leave."""
    from vmtasks.cli.shell import expect_terminal, open_in
    from vmtasks.run.options import accelerator, number

    expect_terminal()
    size_mib, processors = number("memory-mib", memory_mib, at_least=64), number("cpus", cpus, at_least=1)
    open_in(image, None, on=on, memory_mib=size_mib, cpus=processors, accel=accelerator(accel))
