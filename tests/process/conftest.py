"""What these tests share: a plan for the fake QEMU, and a look at whether a process still runs."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.process.supervised import LIMIT_S, Supervisor
from vmtasks.testing.fake_qemu import Script, command

WIRES = (
    *("-chardev", "socket,id=control,fd=100", "-chardev", "socket,id=console,fd=101"),
    *("-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22"),
)


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return what makes a plan whose QEMU is the fake one, with a queue of its own for slots."""

    def plan(script: Script | None = None, *, claim_mib: int = 100, **more: Any) -> dict[str, Any]:
        return {
            "directory": str(tmp_path / "machine"),
            "argv": [*command(script), *WIRES],
            "prepare": [],
            "blank": [],
            "copy": [],
            "scratch": [],
            "load": None,
            "note": None,
            "hold": [],
            "slot": {
                "directory": str(tmp_path / "queue"),
                "machines": 1,
                "memory_mib": 1000,
                "claim_mib": claim_mib,
                "what": "a test",
            },
            "lease": {"name": "guest"},
            "console": str(tmp_path / "console.log"),
            "qemu_log": str(tmp_path / "qemu.log"),
            **more,
        }

    return plan


@pytest.fixture
def ended() -> Iterator[Callable[..., bool]]:
    """Return what waits for the end of a process, child or not: to be asked of first while the process lives."""
    with ExitStack() as stack:
        watched: dict[int, int] = {}

        def ended(pid: int, within_s: float = LIMIT_S) -> bool:
            if pid not in watched:
                watched[pid] = os.pidfd_open(pid)
                stack.callback(os.close, watched[pid])
            return bool(select.select([watched[pid]], [], [], within_s)[0])

        yield ended


@pytest.fixture
def supervise() -> Iterator[Callable[..., Supervisor]]:
    """Yield what starts a supervisor; all of them are gone in the end."""
    started: list[Supervisor] = []

    def start(plan: dict[str, Any], *more: dict[str, Any], **limits: Any) -> Supervisor:
        started.append(Supervisor(plan, *more, **limits))
        return started[-1]

    yield start
    for one in started:
        with one.process as process:
            process.kill()
