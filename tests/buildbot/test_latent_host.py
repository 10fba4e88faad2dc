"""A real master and a real worker on an existing host, over real ssh; the host is this one, in a directory."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.buildbot.farm import Farm
from tests.process.board import Board, board_in, home_in, on, place_in
from tests.waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as such a host does")


BOARD_LIMIT_S = 900.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with place_in(tmp_path_factory.mktemp("place")) as place:
        yield place


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, place: Path) -> Iterator[Board]:
    with home_in(tmp_path_factory.mktemp("user")) as home, board_in(place, home, BOARD_LIMIT_S) as board:
        yield board


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, place: Path, board: Board) -> Iterator[Farm]:
    environ = {"PLACE": str(place), "BOARD": on(board)}
    config = Path(__file__).with_name("board_master.cfg")
    farm = Farm(home=tmp_path_factory.mktemp("farm"), config=config, environ=environ)
    farm.create()
    with farm.running(with_worker=False):
        yield farm


def processes_of(place: Path) -> list[int]:
    """Return the processes that are in the worker's directory, though that may be gone."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where = str((process / "cwd").readlink())
        except OSError:  # gone just now
            continue
        if where.startswith(str(place / "repository")):
            found.append(int(process.name))
    return found


def holder_of(place: Path) -> int:
    """Return the process that holds the host for the master."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if f"boarded.py\0{place}\0".encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    (holder,) = found
    return holder


def nothing_is_left(place: Path) -> None:
    until("end of the worker's directory", lambda: not (place / "repository").exists())
    until("end of the worker's processes", lambda: not processes_of(place))
    until("end of the lock", lambda: not (place / "state/lock").read_text())


def waiting(farm: Farm, place: Path) -> int:
    """Return a request whose build has begun its endless step."""
    request = farm.force("board", "wait")
    until("marker", (place / "repository/marker").exists)
    return request


def passes(farm: Farm, request: int, *results: str) -> None:
    """See that a request's last build passes, as there is no more to wait for."""
    farm.behave("pass")
    assert [result for result, _ in farm.ended(request)] == [*results, "success"]


def test_each_build_finds_the_host_free_and_leaves_nothing(farm: Farm, place: Path) -> None:
    requests = [farm.force("board", "pass") for _ in range(2)]
    for request in requests:
        passes(farm, request)
    nothing_is_left(place)


def test_stop_gives_the_host_back(farm: Farm, place: Path) -> None:
    request = waiting(farm, place)
    farm.control(f"builds/{farm.builds(request)[0]['buildid']}", "stop", reason="enough")
    assert [result for result, _ in farm.ended(request)] == ["cancelled"]
    nothing_is_left(place)


def test_a_process_that_is_killed_loses_the_host_and_the_build_is_made_again(farm: Farm, place: Path) -> None:
    request = waiting(farm, place)
    farm.behave("pass")
    os.kill(holder_of(place), signal.SIGKILL)
    passes(farm, request, "retry")
    nothing_is_left(place)


def test_a_link_that_is_cut_loses_the_host_and_the_build_is_made_again(farm: Farm, place: Path, board: Board) -> None:
    request = waiting(farm, place)
    farm.behave("pass")
    board.hang_up_on_the_newest()
    passes(farm, request, "retry")
    nothing_is_left(place)


def test_a_master_that_is_killed_gives_the_host_back(farm: Farm, place: Path) -> None:
    request = waiting(farm, place)
    farm.end("master", kill=True)
    nothing_is_left(place)
    farm.behave("pass")
    farm.start_master()
    passes(farm, request, "retry")
    nothing_is_left(place)
