"""The way from a guest to the master: a real ssh, and a server that listens for it as sshd does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import paramiko
import pytest

from tests.waiting import until
from vmtasks import ConnectionLost
from vmtasks.integrations.buildbot.tunnel import tunnel
from vmtasks.testing.fake_sshd import FakeSshd


class Guest(FakeSshd):
    """One that is reached at a port, and forwards one of its own if it is to."""

    def __init__(self, home: Path, *, forwards: bool) -> None:
        super().__init__(home)
        self._forwards = forwards
        self.asked: list[tuple[str, int]] = []
        self.transport: paramiko.Transport | None = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def ssh_command(self) -> list[str]:
        port = self.listener.getsockname()[1]
        trust = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        return ["ssh", "-F", "none", "-i", str(self._home / "key"), "-p", str(port), *trust, "root@127.0.0.1"]

    def check_port_forward_request(self, address: str, port: int) -> int | bool:
        self.asked.append((address, port))
        return port if self._forwards else False

    def connect_as_a_worker(self) -> paramiko.Channel:
        assert self.transport
        return self.transport.open_forwarded_tcpip_channel(("127.0.0.1", 1), self.asked[0])

    def _listen(self) -> None:
        line, _ = self.listener.accept()
        self.serve(line)
        self.transport = self._transports[0]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    paramiko.ECDSAKey.generate().write_private_key_file(str(tmp_path / "key"))
    return tmp_path


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def guest(home: Path, stack: ExitStack, *, forwards: bool = True) -> Guest:
    made = Guest(home, forwards=forwards)
    stack.callback(made.listener.close)
    stack.callback(made.close)
    return made


def test_a_port_of_the_guest_leads_to_the_masters_socket_for_as_long_as_the_block_lasts(
    home: Path, stack: ExitStack
) -> None:
    master = stack.enter_context(closing(socket.socket(socket.AF_UNIX)))
    master.bind(str(home / "workers.sock"))
    master.listen()
    machine = guest(home, stack)
    with tunnel(machine.ssh_command, str(home / "workers.sock"), port=9989):
        assert machine.asked == [("127.0.0.1", 9989)], "and nobody else in the guest's network gets there"
        with closing(machine.connect_as_a_worker()) as worker:
            accepted, _ = master.accept()
            with accepted:
                worker.sendall(b"hello")
                assert accepted.recv(5) == b"hello"
    transport = machine.transport
    assert transport
    until("end of the tunnel", lambda: not transport.is_active())


def test_a_guest_that_does_not_forward_is_an_error(home: Path, stack: ExitStack) -> None:
    machine = guest(home, stack, forwards=False)
    with (
        pytest.raises(ConnectionLost, match="cannot lead the guest to the Buildbot's master"),
        tunnel(machine.ssh_command, "/nowhere"),
    ):
        pass
