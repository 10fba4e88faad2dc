"""The processes that called us, and those that read our output: a thread looks whether they are still there.

One that is killed sends no signal, and that a pipe has no reader any more is noticed only by writing into it.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

AGAIN_S = 1.0
"""After how long a loss is told once more: the callback may have ended something smaller over it."""
_MAKES = ("make", "gmake")
OUTPUTS = MappingProxyType({1: "standard output", 2: "standard error"})


@contextmanager
def watch_parent(lose: Callable[[str], None], *, outputs: Mapping[int, str] = OUTPUTS) -> Iterator[None]:
    """Call *lose* from a thread of its own, with what happened, when one of them is gone; and again until the end.

    They are our parent; below make, all up to the process that called it; and the readers of our output.

    :param outputs: the file descriptors whose readers count, and what they are called.
    """
    poll = select.poll()
    losses: dict[int, str] = {}
    with ExitStack() as stack:

        def watch(fd: int, events: int, loss: str) -> None:
            stack.callback(os.close, fd)
            poll.register(fd, events)
            losses[fd] = loss

        over = os.eventfd(0)
        watch(over, select.POLLIN, "")
        callers = _callers()
        for pid, name in callers.items():
            with suppress(OSError):  # ended just now, which the second look tells; or this kernel cannot
                watch(os.pidfd_open(pid), select.POLLIN, f"{name} (pid {pid}), which called us, has ended")
        for fd, name in outputs.items():
            with suppress(OSError):  # closed from the start: no process was ever meant to read it
                watch(os.dup(fd), 0, f"{name} was closed")

        def look(loss: str = "") -> None:
            loss = loss or losses[poll.poll()[0][0]]
            while loss:
                lose(loss)
                if select.select([over], [], [], AGAIN_S)[0]:
                    return

        # The number of a process comes again, but not in the same place: if nothing has changed, it is them we watch.
        is_late = _is_orphan() or _callers().keys() != callers.keys()
        early = ("what called us has ended",) if is_late else ()
        thread = threading.Thread(target=look, args=early, name="caller", daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(os.eventfd_write, over, 1)
        yield


def _callers() -> dict[int, str]:
    """Return the names, by number, of our parent and, below make, of all up to the process that called it.

    A process beyond our session does not count: the one that began the session has let go of it.
    """
    above: dict[int, str] = {}
    up_to = 1
    pid = os.getppid()
    with suppress(OSError):  # ended just now, or hidden from us
        while pid > 1 and os.getsid(pid) == os.getsid(0):  # the end of init needs no watching; 0 is outside of us
            above[pid], pid = _name_and_parent(pid)
            if [*above.values()][-1] in _MAKES:
                up_to = len(above) + 1
    return dict([*above.items()][:up_to])


def _name_and_parent(pid: int) -> tuple[str, int]:
    """Return what proc(5) tells of a process in /proc/PID/stat."""
    before, _, after = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    return before.partition("(")[2], int(after.split()[1])


def _is_orphan() -> bool:
    """Return whether make called us and ended before we looked, or the process that it had call us.

    MAKELEVEL alone is no proof: whatever was started in a shell below make has it, years later. But a child is in its
    parent's session, or leads one of its own; in any other case it has lost a parent.
    """
    if "MAKELEVEL" not in os.environ or os.getsid(0) == os.getpid():
        return False
    try:
        return os.getsid(os.getppid()) != os.getsid(0)
    except ProcessLookupError:  # this very moment
        return True
