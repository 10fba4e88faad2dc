"""Several things at once, as one: all of them end before this does, and an interrupt ends them all."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

from vmtasks.deadline import Deadline
from vmtasks.errors import Interrupted

_interrupted = threading.Event()


def check_interrupted() -> None:
    """Raise if the run has been interrupted; whatever waits in a thread calls this now and then.

    Python hands signals to the main thread alone.

    :raise Interrupted: it has.
    """
    if _interrupted.is_set() and threading.current_thread() is not threading.main_thread():
        raise Interrupted("interrupted")


def parallel(*tasks: Callable[[], object]) -> None:
    """Run all *tasks*, each in a thread of its own, and return when all have ended.

    Each has the caller's context variables. Where one fails, the others go on to their own end: what they find out
    is worth as much as before. The first failure is then raised.

    :raise Interrupted: we were asked to stop; the tasks were told, and have ended.
    """
    with ThreadPoolExecutor(max_workers=max(1, len(tasks)), thread_name_prefix="task") as pool:
        futures: list[Future[object]] = []
        try:
            futures += [pool.submit(copy_context().run, task) for task in tasks]
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


_TURN_S = 0.25
T = TypeVar("T")


def call_in_thread(
    work: Callable[[], T], *, timeout_s: float, watch: Callable[[float], None], give_up: Callable[[], None]
) -> T:
    """Do *work* in a thread of its own, and watch the machine meanwhile.

    :param timeout_s: seconds after which the caller waits no longer.
    :param watch: raises if the machine has bad news.
    :param give_up: has the work end, for which the caller no longer waits.
    :raise TimeoutError: the time is up.
    """
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def report() -> None:
        try:
            results.put((work(), None))
        except BaseException as problem:  # noqa: BLE001 - raised below, in the thread that waits
            results.put((None, problem))

    threading.Thread(target=report, name="watched", daemon=True).start()
    deadline = Deadline.after(timeout_s)
    try:
        while not deadline.passed:
            try:
                result, problem = results.get(timeout=deadline.within(_TURN_S))
            except queue.Empty:
                watch(0.0)
                continue
            if problem is not None:
                raise problem
            return result  # type: ignore[return-value] # None is a result where that is what the work returns
        raise TimeoutError(f"no answer within {timeout_s:g} s")
    except BaseException:
        give_up()
        raise
