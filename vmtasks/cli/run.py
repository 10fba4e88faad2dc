"""One command in a clean machine, as ssh would run it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from vmtasks.config.here import task_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmtasks.guest import Guest

SSH_FAILED = 255
"""What ssh ends with where it is not the command that ended; commands may end so as well."""


@task(
    help={
        "image": "the image to boot",
        "put": "a directory to bring along; the command runs in it",
        "memory_mib": "memory in MiB",
        "cpus": "processors",
        "accel": "auto, kvm or tcg",
        "network": "what the machine reaches: user, restricted or none",
        "on": "where: as --on of a recipe",
    },
    auto_shortflags=False,
)
def run(
    _: Context,
    image: str = "bookworm",
    put: str = "",
    memory_mib: str = "",
    cpus: str = "",
    accel: str = "",
    network: str = "",
    on: str = "",
) -> None:
    """Run what stands behind `--` in a clean machine, as root: its output is ours, and so is its status.

    One word is a line for the machine's shell; several are a command and its arguments.
    """
    from vmtasks.errors import UsageError
    from vmtasks.process.signals import interrupt_on_signals
    from vmtasks.providers.boot import boot
    from vmtasks.report import reporting
    from vmtasks.run import options

    words = command_behind_dashes("run -- uname -a")
    expect_directory(put)
    size_mib = options.number("memory-mib", memory_mib, at_least=64)
    with (
        reporting(None),
        interrupt_on_signals(),
        boot(
            image,
            on=on,
            memory_mib=size_mib,
            cpus=options.number("cpus", cpus, at_least=1),
            accel=options.accelerator(accel),
            network=options.network(network),
            purpose=f"run {words[0]}",
        ) as guest,
    ):
        directory = brought(guest, Path(put)) if put else ""
        if not guest.ssh_command:
            raise UsageError(f"cannot run a command in {guest.name}: no ssh leads there")
        status = over_ssh(guest.ssh_command, words, machine=guest.name, directory=directory)
        if status == SSH_FAILED:
            guest.query("true")  # which says what has become of a machine that is not there any more
    raise Exit(code=status)


def command_behind_dashes(example: str) -> list[str]:
    """Return the words of our command line that are the guest's.

    :param example: a line that has some.
    :raise UsageError: there are none.
    """
    from vmtasks.errors import UsageError

    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    if not any(words):
        raise UsageError("there is no command to run", hint=f"it stands behind two dashes: {task_line(example)}")
    return words


def expect_directory(put: str) -> None:
    """See that what is to come along is a directory, before anything is started.

    :raise UsageError: it is none.
    """
    from vmtasks.errors import UsageError

    if put and not Path(put).is_dir():
        raise UsageError(f"cannot bring {put} along: it is no directory")


def brought(guest: Guest, directory: Path) -> str:
    """Put a directory's files into the guest, those that travel of a project, and return where they are."""
    from vmtasks.project import tree_files

    place = f"/build/{directory.resolve().name or 'tree'}"
    guest.put(directory, place, files=tree_files(directory))
    return place


def over_ssh(ssh_command: Sequence[str], words: Sequence[str], *, machine: str, directory: str = "") -> int:
    """Run a command over an ssh of its own, with our standard input and output, and return its status.

    :param directory: where it runs in the guest; empty: in the user's home.
    """
    from vmtasks import events

    line = words[0] if len(words) == 1 else shlex.join(words)
    if directory:
        line = f"cd {shlex.quote(directory)} && {line}"
    with events.phase("shell", machine=machine):  # in which displays leave the terminal alone
        return subprocess.run([*ssh_command, line], check=False).returncode
