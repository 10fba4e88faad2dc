"""What is to go together with this process, however it ends, kill -9 included.

A shell reads paths from us and removes them when the pipe closes, which the kernel does at our end. It has a session of
its own, so that what ends us, our group or our terminal does not end it.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

# A process that ends together with us may write a last time into what is being removed: hence more than one try.
_PROGRAM = """
cd /
trap '' HUP INT QUIT TERM
while IFS= read -r path; do set -- "$@" "$path"; done
for path; do
    shift; [ -e "$path/spared" ] || set -- "$@" "$path"
done
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$@" && break; sleep 0.2; done
"""
KEEP_MARKER = "spared"
"""A directory with a file of this name in it stays."""
_one_at_a_time = threading.Lock()


def remove_at_exit(path: Path) -> None:
    """Have *path* removed when this process has ended, if it is still there; a name that is never used again."""
    line = os.fsencode(path.absolute()) + b"\n"
    if line.count(b"\n") > 1:  # it would be read as two
        return
    with _one_at_a_time, suppress(OSError):  # without that shell it is left to a sweep: nothing to fail over
        os.write(_remover().pipe, line)


class _Remover(NamedTuple):
    pid: int
    pipe: int


@cache
def _remover() -> _Remover:
    """Start the shell, which is nobody's to wait for: it ends after us."""
    reader, writer = os.pipe()
    nothing = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    actions = [(os.POSIX_SPAWN_DUP2, reader, 0), *nothing]
    try:
        pid = os.posix_spawn(
            "/bin/sh", ["/bin/sh", "-c", _PROGRAM, "remover"], os.environ, file_actions=actions, setsid=True
        )
    except OSError:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    return _Remover(pid, writer)
