"""What is sent on a channel comes before the answer to its close, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import paramiko
import pytest
from paramiko.common import MSG_CHANNEL_CLOSE, MSG_CHANNEL_DATA, MSG_CHANNEL_EOF

from vmtasks.ssh.sending import send, send_all, send_end
from vmtasks.testing.fake_sshd import FakeSshd

LIMIT_S = 20.0
PROMPT_S = 0.3


class Server(FakeSshd):
    """One whose commands end when they are told to."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.ends = threading.Event()
        self.began = threading.Event()

    def execute(self, channel: paramiko.Channel, _: str) -> None:
        self.began.set()
        self.ends.wait(LIMIT_S)
        channel.send_exit_status(0)
        channel.close()


class Door:
    """The lock that messages are sent under; before our own thread goes through, the command ends."""

    def __init__(self, lock: threading.Lock, before: Callable[[], None]) -> None:
        self._lock, self._before, self._ours = lock, before, threading.get_ident()

    def acquire(self) -> None:
        if threading.get_ident() == self._ours:
            self._before()
        self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path)) as server:
        yield server


@pytest.fixture
def channel(server: Server) -> Iterator[paramiko.Channel]:
    with closing(server.connect()) as connection, connection.transport.open_session() as channel:
        channel.exec_command("")
        assert server.began.wait(LIMIT_S)
        yield channel


@pytest.mark.parametrize(
    ("say", "kind"),
    [(send_end, MSG_CHANNEL_EOF), (lambda channel: send(channel, b"x"), MSG_CHANNEL_DATA)],
    ids=["end", "data"],
)
def test_nothing_is_sent_behind_the_answer_to_a_close(
    server: Server,
    channel: paramiko.Channel,
    monkeypatch: pytest.MonkeyPatch,
    say: Callable[[paramiko.Channel], object],
    kind: int,
) -> None:
    """Otherwise, sshd ends the connection: "ieof packet referred to nonexistent channel" (paramiko issue 1705)."""
    transport = channel.get_transport()
    sent: list[int] = []
    is_answered = threading.Event()
    send_message = transport.packetizer.send_message

    def note(message: paramiko.Message) -> None:
        sent.append(message.asbytes()[0])
        send_message(message)
        if sent[-1] == MSG_CHANNEL_CLOSE:
            is_answered.set()

    def end() -> None:
        server.ends.set()
        is_answered.wait(PROMPT_S)  # it must not be, by now: the channel is ours

    monkeypatch.setattr(transport.packetizer, "send_message", note)
    monkeypatch.setattr(transport, "clear_to_send_lock", Door(transport.clear_to_send_lock, end))
    say(channel)
    assert is_answered.wait(LIMIT_S)
    assert sent[0] == kind
    assert sent[-1] == MSG_CHANNEL_CLOSE


def test_what_is_sent_to_a_channel_that_is_over_is_an_error_and_its_end_is_none(
    server: Server, channel: paramiko.Channel
) -> None:
    send_end(channel)
    send_end(channel)
    with pytest.raises(OSError, match="closed"):
        send_all(channel, b"more")
    server.ends.set()
    assert channel.recv_exit_status() == 0
    send_end(channel)
    assert channel.get_transport().is_active()


def test_a_connection_that_agrees_on_new_keys_is_waited_for(
    channel: paramiko.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the channel left alone meanwhile: paramiko's thread may need it before there are any."""
    transport = channel.get_transport()
    room = channel.out_window_size
    waits: list[bool] = []

    def wait(_: float) -> bool:
        waits.append(channel.lock.locked())
        if len(waits) == 3:
            whole.set()
        return whole.is_set()

    whole = threading.Event()
    monkeypatch.setattr(whole, "wait", wait)
    monkeypatch.setattr(transport, "clear_to_send", whole)
    send_all(channel, b"12345")
    assert waits == [False] * 3
    assert channel.out_window_size == room - 5, "what was not sent takes no room"
    transport.close()
    with pytest.raises((EOFError, OSError)):
        send_all(channel, b"x")
