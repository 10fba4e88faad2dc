"""Where the console of a machine and the messages of its QEMU are written down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmtasks.errors import HostError
from vmtasks.machine.launch import LaunchConfig
from vmtasks.spec import Machine
from vmtasks.supervisor.client import SupervisorClient


def log_files(machine: Machine, launch: LaunchConfig, directory: Path, attempt: int) -> tuple[Path, Path]:
    """Return the files of this host that receive the console and QEMU's messages: among the logs, or in *directory*.

    :raise HostError: they cannot be written.
    """
    suffix = f"-{attempt}" if attempt > 1 else ""
    is_local = launch.place.is_local
    if launch.log_dir:
        own = launch.log_dir.absolute() / f"{machine.name}-console{suffix}.log"
    else:
        own = directory / "console.log" if is_local else Path(os.devnull)
    try:
        for parent in (launch.log_dir, directory.parent if is_local else None):
            if parent:
                parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise HostError(f"cannot write to {problem.filename}: {problem.strerror}") from problem
    return launch.console.absolute() if launch.console else own, own.with_name(own.name.replace("console", "qemu"))


@contextmanager
def one_log(console: Path | None, client: SupervisorClient, attempt: int, qemu: str) -> Iterator[None]:
    """Where one file has the console of every attempt, part them by QEMU's command line, and add its own messages."""
    if console is None:
        yield
        return
    with console.open("a") as file:
        file.write((f"\n--- attempt {attempt} ---\n" if attempt > 1 else "") + f"{qemu}\n")
    try:
        yield
    finally:
        client.stop()
        if output := client.final_event()["qemu"]:
            with console.open("a") as file:
                file.write(f"\n{output}")
