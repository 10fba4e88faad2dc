"""A port of a guest that leads here, over a real connection to a small sshd."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from tests.waiting import LIMIT_S, until
from vmtasks.errors import ConnectionLost, HostError, Interrupted
from vmtasks.ssh import forwarding
from vmtasks.ssh.connect import Connection
from vmtasks.ssh.forwarding import reverse_forwarding
from vmtasks.ssh.keepalive import turn
from vmtasks.testing.fake_sshd import FakeSshd


class Target:
    """What a port leads to: each connection to it is in a queue of the kernel's until it is accepted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(LIMIT_S)

    def connected(self) -> socket.socket:
        end = socket.socket(socket.AF_UNIX)
        end.connect(str(self._path))
        return end

    def accepted(self) -> socket.socket:
        line, _ = self.listener.accept()
        line.settimeout(LIMIT_S)
        return line

    def close(self) -> None:
        self.listener.close()


class Refusing(FakeSshd):
    """One that is not to forward."""

    def check_port_forward_request(self, address: str, port: int) -> int | bool:
        return False


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def connection(tmp_path: Path, stack: ExitStack) -> Connection:
    return connection_to(FakeSshd(tmp_path), stack)


@pytest.fixture
def target(tmp_path: Path, stack: ExitStack) -> Target:
    return stack.enter_context(closing(Target(tmp_path / "target")))


def connection_to(sshd: FakeSshd, stack: ExitStack) -> Connection:
    return stack.enter_context(closing(stack.enter_context(closing(sshd)).connect()))


def in_the_guest(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), LIMIT_S)


def nothing(_: float) -> None:
    """Hear no news."""


def test_connections_to_the_port_are_joined_with_ones_to_the_target_each_with_its_own(
    connection: Connection, target: Target
) -> None:
    with reverse_forwarding(connection, target.connected, nothing) as port:
        for word in (b"one", b"two"):
            with in_the_guest(port) as there, target.accepted() as here:
                there.sendall(word)
                there.shutdown(socket.SHUT_WR)
                assert here.makefile("rb").read() == word, "up to its end"
                here.sendall(word * 100_000)
                here.shutdown(socket.SHUT_WR)
                assert there.makefile("rb").read() == word * 100_000, "which is no end of the other way"


def test_at_the_end_of_the_block_connections_end_and_new_ones_are_not_taken(
    connection: Connection, target: Target
) -> None:
    with ExitStack() as stack:
        with reverse_forwarding(connection, target.connected, nothing) as port:
            there = stack.enter_context(in_the_guest(port))
            here = stack.enter_context(target.accepted())
            there.sendall(b"x")
            assert here.recv(1) == b"x"
        assert (here.recv(1), there.recv(1)) == (b"", b"")
        with in_the_guest(port) as late:
            assert late.recv(1) == b""


def test_there_are_so_many_connections_at_a_time_and_no_more(connection: Connection, target: Target) -> None:
    with ExitStack() as stack, reverse_forwarding(connection, target.connected, nothing) as port:
        pairs = []
        for _ in range(forwarding.MOST):
            there = stack.enter_context(in_the_guest(port))
            pairs.append((there, stack.enter_context(target.accepted())))
        with in_the_guest(port) as late:
            assert late.recv(1) == b"", "closed at once"
        for there, here in pairs:
            there.sendall(b"x")
            assert here.recv(1) == b"x", "the others go on"
        there, here = pairs.pop()
        there.close()
        here.close()

        def joined() -> bool:
            end = stack.enter_context(in_the_guest(port))
            end.sendall(b"y")
            with suppress(OSError):
                return select.select([target.listener], [], [], 0.2)[0] != []
            return False

        until("room for another", joined)


@pytest.mark.parametrize("thread", ["forwarded", "forwarded back"])
def test_where_no_thread_can_be_started_a_connection_is_closed_and_the_next_is_tried(
    connection: Connection, target: Target, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    start = threading.Thread.start
    failures = []

    def refuse(self: threading.Thread) -> None:
        if self.name == thread and len(failures) < 2 * forwarding.MOST:
            failures.append(self)
            raise RuntimeError("can't start new thread")
        start(self)

    with reverse_forwarding(connection, target.connected, nothing) as port:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        for _ in range(2 * forwarding.MOST):
            with in_the_guest(port) as there:
                assert there.recv(1) == b""
            if thread == "forwarded back":
                target.accepted().close()
        with in_the_guest(port) as there, target.accepted() as here:
            there.sendall(b"x")
            assert here.recv(1) == b"x"
    assert len(failures) == 2 * forwarding.MOST


def test_where_nobody_listens_here_the_guest_sees_its_connection_closed(connection: Connection) -> None:
    def refused() -> socket.socket:
        raise ConnectionRefusedError

    with reverse_forwarding(connection, refused, nothing) as port, in_the_guest(port) as there:
        assert there.recv(1) == b""


def test_a_guest_that_does_not_forward_is_told_with_what_to_do(tmp_path: Path, stack: ExitStack) -> None:
    connection = connection_to(Refusing(tmp_path), stack)
    with (
        pytest.raises(HostError, match="its sshd does not forward") as refused,
        reverse_forwarding(connection, socket.socket, nothing),
    ):
        pytest.fail("it does")
    assert "AllowTcpForwarding yes" in refused.value.hint


def test_a_guest_that_is_gone_is_lost(connection: Connection) -> None:
    connection.transport.close()
    with (
        pytest.raises(ConnectionLost, match="cannot lead a port"),
        reverse_forwarding(connection, socket.socket, nothing),
    ):
        pytest.fail("where to?")


def test_nothing_is_asked_while_another_answer_is_awaited_and_bad_news_end_the_wait(connection: Connection) -> None:
    looked: list[float] = []

    def watch(wait_s: float) -> None:
        looked.append(wait_s)
        if len(looked) == 2:
            raise Interrupted("enough")

    asked = threading.Event()
    connection.transport.request_port_forward = lambda *_: asked.set()
    with turn(connection.transport):
        with pytest.raises(Interrupted), reverse_forwarding(connection, socket.socket, watch):
            pytest.fail("it has an answer that is another's")
        assert not asked.is_set()
    assert asked.wait(LIMIT_S), "it was its turn then"


def test_a_connection_that_breaks_while_one_to_the_port_is_closed_is_no_news_here() -> None:
    class Broken:
        def close(self) -> None:
            raise EOFError

    def refuse() -> socket.socket:
        raise ConnectionRefusedError

    forwarding._Joints(refuse)._serve(Broken())  # type: ignore[arg-type]
