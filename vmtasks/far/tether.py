"""The far end of a link: runs one of our programs for as long as somebody at the near end is there.

Standard library only.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from vmtasks.alone import argv_of
from vmtasks.child import die_with
from vmtasks.far import SILENCE_S
from vmtasks.janitor import entrust

_END_LIMIT_S = 10.0
"""How long a program may take to go once its leash is let go of: one that waits for the link to take its words, never
does."""


def main() -> None:
    """Run the program that the command line names; its standard input is ours, until that ends or falls silent."""
    sys.stdout.write('{"event": "ready"}\n')
    sys.stdout.flush()
    parent = os.getpid()
    with subprocess.Popen(
        argv_of(sys.argv[1]),
        stdin=subprocess.PIPE,
        bufsize=0,
        preexec_fn=lambda: die_with(parent),  # noqa: PLW1509 - there is but one thread here
    ) as program:
        _hold(program)
        with suppress(BrokenPipeError):
            if program.stdin:
                program.stdin.close()
        try:
            program.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            program.kill()


def _hold(program: subprocess.Popen[bytes]) -> None:
    """Pass on what comes in, until nothing does or the program has ended."""
    ended = os.pidfd_open(program.pid)
    first = b""
    is_first = True
    while ready := select.select([0, ended], [], [], SILENCE_S)[0]:
        if ended in ready or not (data := os.read(0, 65536)):
            return
        if is_first:
            first += data
            if is_first := b"\n" not in first.lstrip():
                continue
            data = first
            _entrust_directory(first)
        with suppress(BrokenPipeError):  # it ends this very moment
            while data and program.stdin:
                data = data[program.stdin.write(data) or 0 :]


def _entrust_directory(first: bytes) -> None:
    """Have the directory removed that a plan names, should its supervisor be killed and we with it."""
    plan = json.loads(first.lstrip().partition(b"\n")[0])
    if directory := plan.get("directory"):
        entrust(Path(directory))
