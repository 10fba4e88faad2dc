"""Several things at once, as one: all of them end before this does, and an interrupt ends them all."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

from vmtasks.deadline import Deadline
from vmtasks.errors import Interrupted, TimedOut

_interrupted = threading.Event()


class BranchEnded(Interrupted):
    """What is done here is to end, and its machines go on: another branch has failed, or the time of all is up."""


@dataclass(slots=True)
class _Stop:
    """What a branch is told to end by: once, so that it can clean up afterwards."""

    is_set: Callable[[], bool]
    told: bool = False


_stops: ContextVar[tuple[_Stop, ...]] = ContextVar("stops", default=())
"""Those of the branch that runs here, and of the branches around it."""


def check_interrupted() -> None:
    """Raise if the run has been interrupted, or this branch of it; whatever waits in a thread calls this now and then.

    Python hands signals to the main thread alone.

    :raise Interrupted: it has.
    """
    if _interrupted.is_set() and threading.current_thread() is not threading.main_thread():
        raise Interrupted("interrupted")
    for stop in _stops.get():
        if not stop.told and stop.is_set():
            stop.told = True
            raise BranchEnded("ended, since what ran beside it has failed or the time of all is up")


@contextmanager
def threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Yield so many threads, for the block and until all that they were given is done.

    They are there before there is anything to do: an interrupt of who starts one, as work comes, could have the
    executor lose sight of it, and end without waiting for what it does.
    """
    with ThreadPoolExecutor(count, name) as pool:
        ready = threading.Barrier(count)
        try:
            for one in [pool.submit(ready.wait) for _ in range(count)]:
                one.result()
        except BaseException:
            ready.abort()
            raise
        yield pool


def parallel(*tasks: Callable[[], Any], timeout_s: float | None = None, fail_fast: bool = False) -> tuple[Any, ...]:
    """Run all *tasks*, each in a thread of its own, and return their results when all have ended.

    Each has the caller's context variables. A task that is to end does so in its next wait for a machine, and its
    command in the guest ends with it; one that waits for no machine goes on to its own end. Tasks may call this, too.

    :param timeout_s: the limit of all together, in seconds; None or 0: there is none.
    :param fail_fast: whether the first failure ends the others. By default they go on: what they find out is worth as
        much as before.
    :raise ParallelFailed: several have failed: an error of the kind of the worst, which names each of them. A single
        failure is raised as it is.
    :raise TimedOut: one did not end within *timeout_s* seconds.
    :raise Interrupted: we were asked to stop; the tasks were told, and have ended.
    """
    from vmtasks.process.branch import CURRENT_BRANCH, Branch  # a listing of the tasks does without these
    from vmtasks.process.parallel_failed import (
        BranchFailure,
        failure_of,
        names_of,
    )

    stop, names = threading.Event(), names_of(tasks)
    deadline = Deadline.after(timeout_s)
    late: Sequence[Future[Any]] = ()
    with threads(max(1, len(tasks)), "task") as pool:
        futures: list[Future[Any]] = []
        try:
            for task, name in zip(tasks, names, strict=True):
                context = copy_context()
                context.run(CURRENT_BRANCH.set, Branch(name=name, outer=CURRENT_BRANCH.get()))
                context.run(_stops.set, (*(_Stop(one.is_set) for one in _stops.get()), _Stop(stop.is_set)))
                futures.append(pool.submit(context.run, task))
            left_s = None if math.isinf(deadline.left_s) else deadline.left_s
            ended = wait(futures, left_s, return_when=FIRST_EXCEPTION if fail_fast else ALL_COMPLETED)
            if ended.not_done:
                if not any(one.exception() for one in ended.done) or not fail_fast:
                    late = [*ended.not_done]
                stop.set()
                wait(futures)
        except BaseException:
            stop.set()
            is_outermost = not _stops.get()
            if is_outermost:  # or whoever is around it tells all
                _interrupted.set()
            try:
                wait(futures)
            finally:
                if is_outermost:
                    _interrupted.clear()
            raise
    problems = [
        _problem_of(one, name, deadline if one in late else None) for one, name in zip(futures, names, strict=True)
    ]
    if any(problems):
        check_interrupted()  # what ended them may have come from around us
    failures = [BranchFailure(name=name, error=one) for name, one in zip(names, problems, strict=True) if one]
    if problem := failure_of(failures, len(tasks)):
        raise problem
    return tuple(one.result() for one in futures)


def _problem_of(one: Future[Any], name: str, passed: Deadline | None) -> BaseException | None:
    """Return what a branch has failed with.

    :param passed: the limit after which it had not ended; what it found out itself goes before that.
    """
    problem = one.exception()
    if passed is None or not (problem is None or isinstance(problem, BranchEnded)):
        return problem
    return TimedOut(f"{name} did not end within {passed.timeout_s:g} s")


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
