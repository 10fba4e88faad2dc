"""A port of a guest's own loopback that leads to the Buildbot's master, and to nothing else of its host.

It is a remote forwarding of ssh (ssh(1), ``-R``), so the guest needs no network for it, and the master no TCP port:
its end may be a UNIX socket, which no machine reaches by itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vmtasks.errors import ConnectionLost

GUEST_PORT = 9989
"""Where a worker in the guest finds the master, on 127.0.0.1."""
_READY = b"ready\n"
_OPTIONS = {"ExitOnForwardFailure": "yes", "ServerAliveInterval": "15", "ServerAliveCountMax": "8"}


@contextmanager
def tunnel(ssh_command: Sequence[str], master: str, port: int = GUEST_PORT) -> Iterator[None]:
    """Have *port* of the guest's loopback lead to *master*, for as long as the block lasts or this process lives.

    :param ssh_command: an ordinary ssh into the guest.
    :param master: what ssh's ``-R`` leads to: HOST:PORT, or the absolute path of a UNIX socket.
    :raise ConnectionLost: the guest does not forward, or is gone.
    """
    ssh, *words = ssh_command
    options = [word for name, value in _OPTIONS.items() for word in ("-o", f"{name}={value}")]
    forward = ["-R", f"127.0.0.1:{port}:{master}"]
    # sshd answers in turn: when the command runs, the port is open. It ends with its standard input, which
    # is ours to close or to lose, and ssh with it.
    command = f"echo {_READY.decode().strip()} && exec cat"
    with subprocess.Popen(
        [ssh, *options, *forward, *words, command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            if process.stdout is None or process.stdout.readline() != _READY:
                raise ConnectionLost(
                    "cannot lead the guest to the Buildbot's master: ssh does not forward a port",
                    hint="sshd in the image must allow it (AllowTcpForwarding), and ssh's own words are above",
                )
            yield
        finally:
            process.kill()
