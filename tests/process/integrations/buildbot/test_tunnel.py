"""The way from a guest to the master, whatever kind of port that has."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from vmtasks import boot, use_provider
from vmtasks.integrations.buildbot.tunnel import tunnel
from vmtasks.testing import FakeProvider

LIMIT_S = 20.0


def listening(kind: str, directory: Path) -> tuple[socket.socket, str]:
    """Return a master's port, and its address as ``-R`` of ssh has such."""
    if kind == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(directory / "workers.sock"))
        listener.listen()
        return listener, str(directory / "workers.sock")
    if kind == "ipv6":
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        return listener, f"[::1]:{listener.getsockname()[1]}"
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["unix", "ipv4", "ipv6"])
def test_a_port_of_the_guest_leads_to_the_master(kind: str, tmp_path: Path) -> None:
    try:
        listener, master = listening(kind, tmp_path)
    except OSError as problem:
        pytest.skip(f"this host has no {kind}: {problem}")
    with closing(listener), use_provider(FakeProvider()), boot("bookworm") as guest, tunnel(guest, master) as port:
        listener.settimeout(LIMIT_S)
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as worker, listener.accept()[0] as accepted:
            worker.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
            accepted.sendall(b"and you")
            assert worker.recv(7) == b"and you"


def test_a_master_that_does_not_listen_just_now_is_no_end_of_the_tunnel(tmp_path: Path) -> None:
    path = tmp_path / "workers.sock"
    with use_provider(FakeProvider()), boot("bookworm") as guest, tunnel(guest, str(path)) as port:
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as early:
            assert early.recv(1) == b""
        with closing(listening("unix", tmp_path)[0]) as listener:
            listener.settimeout(LIMIT_S)
            with socket.create_connection(("127.0.0.1", port), LIMIT_S) as late, listener.accept()[0] as accepted:
                late.sendall(b"x")
                assert accepted.recv(1) == b"x"
