"""What these tests share: a plan for the fake QEMU, and a look at whether a process still runs."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.process.supervised import LIMIT_S, Supervisor, plan_in
from vmtasks.supervisor.plan import Plan


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    """Return what makes a plan whose QEMU is the fake one, with a queue of its own for slots."""
    return partial(plan_in, tmp_path)


@pytest.fixture
def ended() -> Iterator[Callable[..., bool]]:
    """Return what waits for the end of a process, child or not: to be asked of first while the process lives."""
    with ExitStack() as stack:
        watched: dict[int, int] = {}

        def ended(pid: int, timeout_s: float = LIMIT_S) -> bool:
            if pid not in watched:
                watched[pid] = os.pidfd_open(pid)
                stack.callback(os.close, watched[pid])
            return bool(select.select([watched[pid]], [], [], timeout_s)[0])

        yield ended


@pytest.fixture
def supervise() -> Iterator[Callable[..., Supervisor]]:
    """Yield what starts a supervisor; all of them are gone in the end."""
    started: list[Supervisor] = []

    def start(plan: Plan, *more: dict[str, Any], **limits: Any) -> Supervisor:
        started.append(Supervisor(plan, *more, **limits))
        return started[-1]

    yield start
    for one in started:
        with one.process as process:
            process.kill()
