"""A program that plays iperf3, in machines that are none: they share this host's loopback."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmtasks.frameworks.netperf import iperf3, servers
from vmtasks.providers.preparation import Preparation

PLAYER = """#!/usr/bin/python3
import json, os, socket, sys
words = sys.argv[1:]
port = int(words[words.index("--port") + 1])
if "--server" in words:
    if "--daemon" in words:  # before it listens, as iperf3 does
        if os.fork():
            sys.exit()
        os.setsid()
        for fd in 0, 1, 2:
            os.dup2(os.open("/dev/null", os.O_RDWR), fd)
        with open(words[words.index("--pidfile") + 1], "w") as file:
            file.write(str(os.getpid()) + "\\0")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        sys.exit("iperf3: error - unable to start listener: Address already in use")
    listener.listen()
    print("Server listening on", port, flush=True)
    while True:
        listener.accept()[0].close()
try:
    socket.create_connection(("127.0.0.1", port), 5).close()
    rate = {"bits_per_second": 250e6}
    print(json.dumps({"end": {"sum_sent": {**rate, "retransmits": 3}, "sum_received": rate}}))
except OSError as problem:
    print(json.dumps({"end": {}, "error": "unable to connect to server: " + problem.strerror}))
"""


def free_port(patch: pytest.MonkeyPatch) -> int:
    """Have iperf3's own port be one that nobody listens on, and return it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
    patch.setattr(servers, "PORT", found)
    return found


@contextmanager
def played_iperf3() -> Iterator[None]:
    """Have it be played in the block, and be installed everywhere."""
    with tempfile.TemporaryDirectory(prefix="vmtasks-test-") as name, pytest.MonkeyPatch.context() as patch:
        Path(name).chmod(0o755)
        program = Path(name, "iperf3")
        program.write_text(PLAYER)
        program.chmod(0o755)
        patch.setattr(iperf3, "PROGRAM", str(program))
        patch.setattr(Preparation, "of_packages", lambda _: None)
        yield
