"""The far end of a link: runs one of our programs for as long as the program at the near end is there.

Standard library only.
"""

from __future__ import annotations

import json
import math
import os
import re
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from vmtasks.process.child import die_with_parent
from vmtasks.process.cleanup import remove_at_exit
from vmtasks.process.isolated import isolated_argv
from vmtasks.remote.heartbeat import SILENT_STATUS, TIMEOUT_S

_PATIENCE_S = 60.0
"""How long a link counts that moves, but brings no sign of life: what fills it is so long, or no program gives any."""
_END_LIMIT_S = 10.0
"""How long a program may take to go once its input is closed: one that waits for the link to take its words, never
does."""


def main() -> None:
    """Run the program that the command line names; its standard input is ours, until that ends or falls silent."""
    sys.stdout.write('{"event": "ready"}\n')
    sys.stdout.flush()
    parent = os.getpid()
    with subprocess.Popen(
        isolated_argv(sys.argv[1]),
        stdin=subprocess.PIPE,
        bufsize=0,
        preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509 - there is but one thread here
    ) as program:
        is_silent = _hold(program)
        with suppress(BrokenPipeError):
            if program.stdin:
                program.stdin.close()
        try:
            program.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            program.kill()
    if is_silent:  # the near end may still be there, and hear of it
        sys.exit(SILENT_STATUS)


def _hold(program: subprocess.Popen[bytes]) -> bool:
    """Pass on what comes in, until nothing does or the program has ended; return whether the link fell silent."""
    ended = os.pidfd_open(program.pid)
    first = b""
    is_first = True
    while ready := _ready(0, ended):
        if ended in ready or not (data := os.read(0, 65536)):
            return False
        if is_first:
            first += data
            if is_first := b"\n" not in first.lstrip():
                continue
            data = first
            _entrust_directory(first)
        with suppress(BrokenPipeError):  # it ends this very moment
            while data and program.stdin:
                data = data[program.stdin.write(data) or 0 :]
    return True


def _ready(*fds: int) -> list[int]:
    """Return which of some descriptors can be read, once one can; none of them if the link is silent."""
    wait_s, deadline_s = TIMEOUT_S, time.monotonic() + _PATIENCE_S
    while wait_s > 0:
        if ready := select.select(fds, [], [], wait_s)[0]:
            return ready
        wait_s = min(TIMEOUT_S - _quiet_s(), deadline_s - time.monotonic())
    return []


def _quiet_s() -> float:
    """Return for how long nothing at all has come over the link; infinity if that cannot be known.

    Signs of life stand in line behind whatever else is on its way: on a slow link, a file's beginning fills the line
    for longer than we wait. The kernel knows whether it moves.

    Source: ssh(1) ``SSH_CONNECTION``, ss(8), tcp_info in ``linux/tcp.h``.
    """
    try:
        near, near_port, _, port = os.environ["SSH_CONNECTION"].split()
        command = ["ss", "--tcp", "--info", "--numeric", "--oneline", "--no-header"]
        where = f"sport = :{port} and dport = :{near_port}"
        done = subprocess.run(
            [*command, where],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    except (KeyError, ValueError, OSError, subprocess.SubprocessError):
        return math.inf
    return min((quiet_s(line) for line in done.stdout.splitlines() if near in line), default=math.inf)


def quiet_s(line: str) -> float:
    """Return for how long nothing has come over a connection, by its line of ``ss --info``; infinity if it is mute."""
    found = re.search(r" bytes_received:\d+(?:.* lastrcv:(\d+))?", line)  # which it leaves out where it would be 0
    return int(found[1] or 0) / 1000 if found else math.inf


def _entrust_directory(first: bytes) -> None:
    """Have the directory removed that a program's first line names as its own, should it be killed and we with it."""
    with suppress(ValueError):  # it says itself what is wrong with its orders
        orders = json.loads(first.lstrip().partition(b"\n")[0])
        if isinstance(orders, dict) and isinstance(directory := orders.get("directory"), str):
            remove_at_exit(Path(directory))
