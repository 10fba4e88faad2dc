"""Several things at once, as one: all of them end before this does, and an interrupt ends them all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from vmtasks.errors import Interrupted

_interrupted = threading.Event()


def check_interrupted() -> None:
    """Raise if the run has been interrupted; whatever waits in a thread calls this now and then.

    Python hands signals to the main thread alone.

    :raise Interrupted: it has.
    """
    if _interrupted.is_set() and threading.current_thread() is not threading.main_thread():
        raise Interrupted("interrupted")


def at_once(*tasks: Callable[[], object]) -> None:
    """Run all *tasks*, each in a thread of its own, and return when all have ended.

    Where one fails, the others go on to their own end: what they find out is worth as much as before. The
    first failure is then raised.

    :raise Interrupted: somebody asked us to stop; the tasks were told, and have ended.
    """
    with ThreadPoolExecutor(max_workers=max(1, len(tasks)), thread_name_prefix="task") as pool:
        futures: list[Future[object]] = []
        try:
            futures += map(pool.submit, tasks)
            wait(futures)
        except BaseException:
            _interrupted.set()
            try:
                wait(futures)
            finally:
                _interrupted.clear()
            raise
    for future in futures:
        future.result()
