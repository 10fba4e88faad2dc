"""Work that waits without asking: paramiko has calls that end when the other side answers, or never."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from vmtasks.deadline import Deadline

_TURN_S = 0.25

T = TypeVar("T")


def watched(
    work: Callable[[], T], *, within_s: float, watch: Callable[[float], None], give_up: Callable[[], None]
) -> T:
    """Do *work* in a thread of its own, and watch the machine meanwhile.

    :param within_s: seconds after which nobody waits any longer.
    :param watch: raises if the machine has bad news.
    :param give_up: has the work end, which nobody waits for.
    :raise TimeoutError: the time is up.
    """
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def report() -> None:
        try:
            results.put((work(), None))
        except BaseException as problem:  # noqa: BLE001 - raised below, in the thread that waits
            results.put((None, problem))

    threading.Thread(target=report, name="watched", daemon=True).start()
    deadline = Deadline.after(within_s)
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
        raise TimeoutError(f"no answer within {within_s:g} s")
    except BaseException:
        give_up()
        raise
