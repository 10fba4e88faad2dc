"""Where an iperf3 server runs for as long as a block lasts: in a guest, or on this host for guests of its own."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks.deadline import Deadline
from vmtasks.errors import CommandFailed, GuestLost, HostError, InfrastructureError, TestFailed
from vmtasks.frameworks.netperf import iperf3
from vmtasks.process.threads import check_interrupted

if TYPE_CHECKING:
    from vmtasks.guest import Guest

PORT = 5201
"""iperf3's own."""
HOST_ADDRESS = "10.0.2.2"
"""This host's loopback, as a guest of QEMU's user network reaches it."""
LOOPBACK = "127.0.0.1"
_START_LIMIT_S = 30.0
_TURN_S = 0.05
_LISTENING = "Server listening"


@contextmanager
def serving_in(guest: Guest) -> Iterator[int]:
    """Have a guest serve until the end of the block, and yield the port.

    :raise TestFailed: it cannot.
    """
    if guest.run(f"ss --no-header --listening --tcp 'sport = :{PORT}' | grep -q .", warn=True, hide=True).ok:
        raise TestFailed(
            f"iperf3 cannot serve on {guest.name}: something else listens on port {PORT}",
            hint=f"`ss --listening --tcp --processes 'sport = :{PORT}'` there shows what",
        )
    with guest.tmp_dir() as room:
        pidfile = f"{room}/pid"
        guest.run(iperf3.server_argv(PORT, pidfile=pidfile), hide=True)
        try:
            guest.wait_for_port(PORT, timeout_s=_START_LIMIT_S)
            yield PORT
        finally:
            with suppress(InfrastructureError, GuestLost, CommandFailed):
                guest.query(f"kill $(tr -d '\\0' <{pidfile}) 2>/dev/null || :")


def expect_here() -> None:
    """See that this host can serve.

    :raise HostError: iperf3 is not installed.
    """
    import shutil

    if shutil.which(iperf3.PROGRAM) is None:
        raise HostError("cannot measure against this host: iperf3 is not installed", hint="apt install iperf3")


@contextmanager
def serving_here(log: Path) -> Iterator[int]:
    """Serve on this host's loopback until the end of the block, and yield the port.

    Every guest that reaches this host reaches it meanwhile, whatever that sends to it: so it has no privileges, no
    secrets in its environment, and no files but its program's and a directory for its buffers.

    :param log: receives what the server prints.
    :raise HostError: iperf3 does not start.
    """
    import subprocess  # none of these need a listing of the recipes load
    from tempfile import TemporaryDirectory

    from vmtasks.host.confined import confined_argv
    from vmtasks.process.landlock import Reach

    expect_here()
    port = _free_port()
    with TemporaryDirectory(prefix="vmtasks-iperf3-") as room, log.open("wb") as written:
        argv = confined_argv(iperf3.server_argv(port, bind=LOOPBACK), Reach(write=(room,)))
        env = {"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": room, "LC_ALL": "C"}
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.STDOUT, env=env)
        try:
            deadline = Deadline.after(_START_LIMIT_S)
            while _LISTENING not in (text := log.read_text(errors="replace")):
                check_interrupted()
                if deadline.passed or "error" in text or server.poll() is not None:
                    lines = tuple(text.splitlines()[-15:])
                    raise HostError(f"iperf3 does not serve on this host, on port {port}: {log} has why", details=lines)
                threading.Event().wait(_TURN_S)
            yield port
        finally:
            server.kill()  # it has nothing to tidy up
            server.wait()


def _free_port() -> int:
    """Return a port of the loopback that nobody listens on, and that the kernel gives to nobody else soon."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port
