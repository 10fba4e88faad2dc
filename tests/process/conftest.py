"""What these tests share: a plan for the fake QEMU, and a look at whether a process still runs."""

from __future__ import annotations

import os
import select
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import paramiko
import pytest

from tests.process.board import Board, board_in, home_in, place_in
from tests.process.supervised import LIMIT_S, Supervisor, plan_in
from vmtasks.supervisor.plan import Plan


@pytest.fixture(autouse=True)
def _channels_are_used_with_care(monkeypatch: pytest.MonkeyPatch) -> None:
    """See that nothing selects or sends on a channel in a way that breaks connections (ssh/arrivals, ssh/sending)."""

    def careful(name: str) -> Callable[..., Any]:
        whole = getattr(paramiko.Channel, name)

        def method(channel: paramiko.Channel, *args: Any) -> Any:
            if channel.get_transport().server_mode:  # the fakes' end
                return whole(channel, *args)
            raise AssertionError(f"paramiko's own {name} was used")

        return method

    for name in ("fileno", "send", "sendall", "shutdown", "shutdown_write"):
        monkeypatch.setattr(paramiko.Channel, name, careful(name))


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


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a directory with a short name, which other users may enter: sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="board-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def board(place: Path) -> Iterator[Board]:
    """Yield an existing host in *place*."""
    with home_in(place) as home, place_in(place), board_in(place, home) as board:
        yield board
