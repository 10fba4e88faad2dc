"""Waiting for sshd's greeting: a guest that is slow is given time, and one that hung is tried again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vmtasks.deadline import Deadline
from vmtasks.spec import Access
from vmtasks.ssh import connect
from vmtasks.ssh.connect import Address

Serve = Callable[[float, int], Address]
"""Starts a server that greets each connection so many seconds after it began, but for the first few, which hang."""


@pytest.fixture
def serve() -> Iterator[Serve]:
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def greet(line: socket.socket, after_s: float) -> None:
        with closing(line):
            try:
                if not over.wait(after_s):
                    line.sendall(b"SSH-2.0-test\r\n")
                over.wait()
            except OSError:
                return  # given up meanwhile

    def start(after_s: float, hanging: int) -> Address:
        def accept() -> None:
            number = 0
            while not over.is_set():
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                number += 1
                threading.Thread(target=greet, args=(line, after_s if number > hanging else 3600), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return Address(port=listener.getsockname()[1], access=Access(identity=Path("key"), known_hosts=Path("known")))

    yield start
    over.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def greeted(address: Address, *, timeout_s: float, stagger_s: float) -> bool:
    line = connect._greeted(
        address, Deadline.after(timeout_s), lambda wait_s: threading.Event().wait(wait_s), stagger_s
    )
    if line is None:
        return False
    line.close()
    return True


def test_a_greeting_that_takes_longer_than_a_first_attempt_lives_comes_all_the_same(serve: Serve) -> None:
    """Four attempts at once, one each 0.02 s: the first ones live for 0.08 s."""
    assert greeted(serve(0.6, 0), timeout_s=20, stagger_s=0.02)


def test_connections_that_hang_are_not_waited_for(serve: Serve) -> None:
    assert greeted(serve(0.0, 6), timeout_s=20, stagger_s=0.05)


def test_the_end_of_the_wait_is_none(serve: Serve) -> None:
    assert not greeted(serve(3600, 0), timeout_s=0.5, stagger_s=0.05)
