"""Named machines: start one that stays, use it from any later call, and end it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from vmtasks.cli.optional_word import WordMayBeMissing
from vmtasks.cli.run import SSH_FAILED, brought, command_behind_dashes, expect_directory, over_ssh
from vmtasks.config.here import task_line

if TYPE_CHECKING:
    from vmtasks.guest import Guest
    from vmtasks.named.keeper import Order
    from vmtasks.named.registry import NamedMachine

_IMAGE = "bookworm"
_TTL = "2h"
_NAME = "the machine's name, which `up` gave it"


@task(
    help={
        "name": "what to call it: letters, digits, dashes",
        "image": f"the image to boot (default: {_IMAGE})",
        "ttl": f"how long it lives, unless `down` ends it before: 90s, 30m, 1h30m, 2d (default: {_TTL})",
        "on": "where: USER@HOST; this host by default",
        "reuse": "take the machine of that name, if there is one",
        "extend": "have the machine of that name live for --ttl from now on",
        "memory_mib": "memory in MiB",
        "cpus": "processors",
        "accel": "auto, kvm or tcg",
        "network": "what the machine reaches: user, restricted or none",
    },
    auto_shortflags=False,
)
def up(
    _: Context,
    name: str,
    image: str = "",
    ttl: str = "",
    on: str = "",
    memory_mib: str = "",
    cpus: str = "",
    accel: str = "",
    network: str = "",
    reuse: bool = False,
    extend: bool = False,
) -> None:
    """Start a machine that stays after this call, for `exec`, `put`, `get` and `ssh`, until `down` or --ttl ends it."""
    from vmtasks.named import registry
    from vmtasks.named.keeper import Order
    from vmtasks.named.present import expect_ours
    from vmtasks.named.words import expect_name, ttl_s
    from vmtasks.run import options

    order = Order(
        name=name,
        image=image or _IMAGE,
        on=on,
        ttl_s=ttl_s(ttl or _TTL),
        memory_mib=options.number("memory-mib", memory_mib, at_least=64),
        cpus=options.number("cpus", cpus, at_least=1),
        accel=options.accelerator(accel),
        network=options.network(network),
    )
    expect_ours(expect_name(name))
    there = registry.find(name)
    if (there is not None and there.is_alive and not there.end) or (extend and not reuse):
        machine = _taken(order, image=image, reuse=reuse, extend=extend)
    else:
        machine = _started(order, reuse=reuse)
    print(
        f"{name}: {_described(machine)}; {task_line(f'exec {name} -- COMMAND')} runs a command in it", file=sys.stderr
    )


def _taken(order: Order, *, image: str, reuse: bool, extend: bool) -> NamedMachine:
    """Return the machine that is there, as one that was ordered.

    :param image: the one that was named; empty: any will do.
    :raise UsageError: it is not to be taken, or is another one.
    """
    from vmtasks.errors import UsageError
    from vmtasks.named import calls
    from vmtasks.named.present import present, wait_until_ready
    from vmtasks.process.signals import interrupt_on_signals

    machine = present(order.name)
    if not (reuse or extend):
        raise UsageError(
            f"there is a machine '{order.name}' already: {_described(machine)}",
            hint=f"--reuse takes it, --extend gives it more time, {task_line(f'down {order.name}')} ends it",
        )
    _expect_same(machine, image=image, on=order.on)
    with interrupt_on_signals():
        machine = wait_until_ready(order.name)  # another call may have started it just now
    return calls.extend(order.name, order.ttl_s) if extend else machine


def _started(order: Order, *, reuse: bool) -> NamedMachine:
    """Start a machine, and return it.

    :param reuse: whether the one of another call that comes first will do.
    :raise UsageError: there cannot be such a machine, or there is one of the name.
    """
    from vmtasks.errors import UsageError
    from vmtasks.named import calls, registry
    from vmtasks.named.present import present, wait_until_ready
    from vmtasks.process.signals import interrupt_on_signals

    order.request()  # before a process is started that would only say what is wrong with it
    with interrupt_on_signals():
        try:
            calls.start(order.to_json())
        except UsageError:
            now = registry.find(order.name)
            if not (reuse and now is not None and now.is_alive and not now.end):
                raise
            wait_until_ready(order.name)  # of two calls at once the other one starts it
    return present(order.name)


def _described(machine: NamedMachine) -> str:
    from vmtasks.named.present import clock

    end = f"until {clock(machine.until_s)}" if machine.until_s is not None else "which still boots"
    return f"{machine.image} on {machine.on}, {end}"


def _expect_same(machine: NamedMachine, *, image: str, on: str) -> None:
    """See that a machine which is there is the one that is asked for.

    :raise UsageError: it is another one.
    """
    from vmtasks.errors import UsageError

    for asked, has in ((image, machine.image), (on, machine.on)):
        if asked and asked != has:
            raise UsageError(
                f"cannot take the machine '{machine.name}' for one of {asked}: it is {_described(machine)}",
                hint=f"give the other one a name of its own, or end this one: {task_line(f'down {machine.name}')}",
            )


@task(
    name="exec",
    help={"name": _NAME, "put": "a directory to bring along; the command runs in it"},
    auto_shortflags=False,
)
def exec_(_: Context, name: str, put: str = "") -> None:
    """Run what stands behind `--` in a named machine, as root: its output is ours, and so is its status.

    One word is a line for the machine's shell; several are a command and its arguments.
    """
    from vmtasks.named.present import ready
    from vmtasks.process.signals import interrupt_on_signals

    words = command_behind_dashes(f"exec {name} -- uname -a")
    expect_directory(put)
    machine = ready(name)
    with interrupt_on_signals():
        directory = _brought(machine, put) if put else ""
        status = over_ssh(machine.ssh, words, machine=name, directory=directory)
        _expect_there(machine, status)
    raise Exit(code=status)


def _brought(machine: NamedMachine, put: str) -> str:
    from vmtasks.named.attached import attached
    from vmtasks.report import reporting

    with reporting(None), attached(machine) as guest:
        return brought(guest, Path(put))


def _expect_there(machine: NamedMachine, status: int) -> None:
    """See whether ssh's status for a lost connection is the machine's end; a command may have ended so as well.

    :raise VmtasksError: the machine is gone, or does not answer.
    """
    if status == SSH_FAILED:
        from vmtasks.named.attached import attached

        with attached(machine) as guest:
            guest.query("true")


@contextmanager
def _guest_of(name: str) -> Iterator[Guest]:
    """Yield the guest that a named machine is, for a transfer that is shown."""
    from vmtasks.named.attached import attached
    from vmtasks.named.present import ready
    from vmtasks.process.signals import interrupt_on_signals
    from vmtasks.report import reporting

    machine = ready(name)
    with reporting(None), interrupt_on_signals(), attached(machine) as guest:
        yield guest


@task(
    help={
        "name": _NAME,
        "local": "a file, a directory (its content goes), or a pattern in quotes",
        "remote": "where it goes; a file goes into what ends in a slash",
    },
    auto_shortflags=False,
)
def put(_: Context, name: str, local: str, remote: str) -> None:
    """Send a file, a tree or what a pattern matches to a named machine."""
    with _guest_of(name) as guest:
        guest.put(local, remote)


@task(
    help={
        "name": _NAME,
        "remote": "a file, a directory (its content comes), or a pattern in quotes",
        "local": "where it goes; a file goes into a directory, or what ends in a slash",
    },
    auto_shortflags=False,
)
def get(_: Context, name: str, remote: str, local: str) -> None:
    """Bring a file, a tree or what a pattern matches out of a named machine."""
    with _guest_of(name) as guest:
        guest.get(remote, local)


@task(help={"name": _NAME}, auto_shortflags=False)
def ssh(_: Context, name: str) -> None:
    """Log in to a named machine, as ssh does: its shell reads standard input, be that a terminal or not."""
    from vmtasks.named.present import ready

    machine = ready(name)
    status = subprocess.run(machine.ssh, check=False).returncode
    _expect_there(machine, status)
    raise Exit(code=status)


@task(klass=WordMayBeMissing, help={"name": f"{_NAME}; all of yours without"}, auto_shortflags=False)
def ssh_config(_: Context, name: str) -> None:
    """Print what has ssh know named machines by their names (ssh_config(5)): for scp, rsync and editors, too."""
    from vmtasks.named import registry
    from vmtasks.named.attached import address_of
    from vmtasks.named.present import ready
    from vmtasks.ssh.connect import host_block

    wanted = [ready(name)] if name else [one for one in registry.machines() if one.is_alive and one.address]
    for machine in wanted:
        print(host_block(machine.name, address_of(machine)), end="")


@task(
    klass=WordMayBeMissing,
    help={"name": _NAME, "all_": "end all that are yours"},
    auto_shortflags=False,
)
def down(_: Context, name: str, all_: bool = False) -> None:
    """End a named machine."""
    from vmtasks.errors import UsageError
    from vmtasks.named import calls, registry
    from vmtasks.named.present import expect_ours, present
    from vmtasks.named.words import expect_name

    if bool(name) == all_:
        raise UsageError("say which machine to end, by its name, or --all", hint=task_line("down web"))
    if name:
        expect_ours(expect_name(name))
    wanted = registry.machines() if all_ else [registry.find(name) or present(name)]
    for machine in wanted:
        calls.end(machine)
        print(f"{machine.name}: ended" if machine.is_alive else f"{machine.name}: was gone already", file=sys.stderr)
