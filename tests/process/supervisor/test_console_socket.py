"""Who attaches to a machine's console: sees what it prints, types there, and is in nobody's way."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.process.supervised import LIMIT_S, Supervisor
from vmtasks.deadline import Deadline
from vmtasks.supervisor import console_socket
from vmtasks.supervisor.console import LAST_WORDS_BYTES, Console
from vmtasks.supervisor.console_socket import ConsoleSocket, connect
from vmtasks.supervisor.plan import Plan

MakePlan = Callable[..., Plan]
ECHOES = {"query-status": [["say", "login: "], ["echo"]]}


def read_until(line: socket.socket, wanted: bytes) -> bytes:
    """Return what comes over a line until *wanted* has come."""
    deadline = Deadline.after(LIMIT_S)
    seen = b""
    while wanted not in seen:
        assert select.select([line], [], [], deadline.left_s)[0], seen[-1000:]
        data = line.recv(65536)
        assert data, seen[-1000:]
        seen += data
    return seen


# --- with a supervisor -----------------------------------------------------------------------------------------


def test_what_is_typed_reaches_the_guest_and_all_who_are_attached_see_what_it_prints(
    supervise: Callable[..., Supervisor], plan: MakePlan
) -> None:
    ours = plan(ECHOES)
    one = supervise(ours)
    one.starts()
    one.asks("query-status")
    one.says("answer")
    with closing(connect(ours.directory)) as person, closing(connect(ours.directory)) as other:
        assert read_until(person, b"login: ").endswith(b"login: "), "also what was printed before"
        read_until(other, b"login: ")
        person.sendall(b"ro\x03ot\r")
        assert read_until(person, b"\r") == b"ro\x03ot\r", "each key as it is"
        assert read_until(other, b"\r") == b"ro\x03ot\r"
        other.sendall(b"Kernel panic - not syncing: typed\r\n")
        assert one.says("panic")["line"] == "Kernel panic - not syncing: typed", "the supervisor listens as ever"
    one.send({"do": "type", "id": 7, "text": "by the run"})
    assert one.says("answer")["result"] == 10
    one.close()
    last = one.ends()
    assert last["status"] == 0
    assert Path(str(ours.console)).read_bytes().startswith(b"login: ro\x03ot\rKernel panic"), "and so does the log"
    assert not Path(ours.directory).exists()


def test_whoever_does_not_read_stops_neither_the_machine_nor_others(
    supervise: Callable[..., Supervisor], plan: MakePlan
) -> None:
    ours = plan({"query-status": [["flood", "all work and no play\n"]]})
    one = supervise(ours)
    one.starts()
    with closing(connect(ours.directory)) as lazy, closing(connect(ours.directory)) as eager:
        one.asks("query-status")
        one.says("answer")
        seen = 0
        while seen < 8 << 20:
            seen += len(eager.recv(1 << 20))
        assert b"bytes left out: they were not read in time]\r\n" in read_until(lazy, b" bytes left out")
    one.close()
    assert one.ends()["status"] == 0


@pytest.mark.parametrize("name", ["m" * 200, "it's \u00e4 machine"])
def test_the_machines_directory_may_have_any_name(
    supervise: Callable[..., Supervisor], plan: MakePlan, tmp_path: Path, name: str
) -> None:
    ours = plan(ECHOES, directory=str(tmp_path / name))
    one = supervise(ours)
    one.starts()
    with closing(connect(ours.directory)) as person:
        one.asks("query-status")
        read_until(person, b"login: ")
    one.close()
    one.says("answer")
    assert one.ends()["status"] == 0


# --- with a guest that is a socket -----------------------------------------------------------------------------


class Bench:
    """A console whose other end is in our hand."""

    def __init__(self, directory: Path) -> None:
        screen, self.guest = socket.socketpair()
        self.console = Console(screen, str(directory / "console.log"), lambda _: None)
        self.door = ConsoleSocket(self.console, str(directory))
        self.console.show = self.door.show

    def turn(self) -> None:
        """Serve as the supervisor does, once; whatever there is to do is there."""
        ready, _, _ = select.select([self.console, *self.door.waits_for()], self.door.waits_for_room(), [], 0)
        if self.console in ready:
            self.console.pump()
        self.door.serve(ready)

    def close(self) -> None:
        self.console.close()
        self.console.line.close()
        self.door.close()
        self.guest.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(Bench(tmp_path)) as bench:
        yield bench


def test_only_its_owner_and_root_are_let_in(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_socket, "_user_of", lambda _: os.geteuid() + 1)
    with closing(connect(str(tmp_path))) as stranger:
        bench.turn()
        assert stranger.recv(1) == b"", "it is hung up on"
    monkeypatch.undo()
    with closing(connect(str(tmp_path))) as owner:
        bench.turn()
        owner.sendall(b"x")
        bench.turn()
        assert bench.guest.recv(10) == b"x"


def test_the_user_at_the_other_end_is_who_the_kernel_says() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert console_socket._user_of(ours) == os.geteuid()


def test_so_many_and_no_more(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_socket, "MOST", 1)
    with closing(connect(str(tmp_path))) as first:
        bench.turn()
        with closing(connect(str(tmp_path))) as second:
            bench.turn()
            assert second.recv(1) == b""
        bench.guest.sendall(b"hello")
        bench.turn()
        assert first.recv(10) == b"hello"
    bench.turn()
    with closing(connect(str(tmp_path))) as third:
        bench.turn()
        assert third.recv(10) == b"hello", "there is room again"


def test_keys_that_the_guest_does_not_take_wait_at_their_writers_and_none_is_lost(bench: Bench, tmp_path: Path) -> None:
    with closing(connect(str(tmp_path))) as person:
        bench.turn()
        while bench.console.type_in(b"x" * 65536):
            pass
        person.sendall(b"y" * 10000)
        for _ in range(10):
            bench.turn()
        assert bench.door.waits_for_room() == [bench.console]
        assert len(bench.door.waits_for()) == 1, "nothing more is read from who has typed that"
        taken = b""
        while taken.count(b"y") < 10000:
            taken += bench.guest.recv(1 << 20)
            bench.turn()
        assert taken.strip(b"x") == b"y" * 10000
        assert bench.door.waits_for_room() == []


def test_a_long_past_is_shown_from_the_beginning_of_a_line(bench: Bench, tmp_path: Path) -> None:
    bench.guest.sendall(b"0123456789\n" * LAST_WORDS_BYTES)
    while bench.console.tail().count("\n") < LAST_WORDS_BYTES // 11:
        bench.turn()
    for _ in range(3):
        bench.turn()
    with closing(connect(str(tmp_path))) as person:
        bench.turn()
        shown = person.recv(2 * LAST_WORDS_BYTES)
    assert shown.startswith(b"0123456789\n")
    assert LAST_WORDS_BYTES - 11 <= len(shown) < LAST_WORDS_BYTES


def test_where_there_can_be_no_socket_the_machine_runs_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_socket, "PREFIX", "no such directory/")
    with closing(Bench(tmp_path)) as bench:
        assert bench.door.waits_for() == []
        bench.guest.sendall(b"hello")
        bench.turn()
        assert bench.console.tail() == "hello"
        with pytest.raises(FileNotFoundError, match="it has no socket for that"):
            connect(str(tmp_path))


@pytest.mark.usefixtures("bench")
def test_its_name_is_a_secret_of_those_who_may_list_the_directory(tmp_path: Path) -> None:
    (name,) = [path.name for path in tmp_path.iterdir() if path.is_socket()]
    assert len(name.removeprefix(console_socket.PREFIX)) == 32
    bound = Path("/proc/net/unix").read_text()
    assert "/bound-" in bound, "the kernel tells everybody what a socket was bound to"
    assert name not in bound
