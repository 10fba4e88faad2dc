"""Several things at once: their results, their one limit, and what becomes of the others when one fails."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NoReturn

import pytest

from vmtasks import CommandFailed, HostError, Interrupted, ParallelFailed, TimedOut, UsageError, parallel
from vmtasks.deadline import Deadline
from vmtasks.errors import Outcome, outcome_of
from vmtasks.errors import TestFailed as ProjectFailed
from vmtasks.process import threads
from vmtasks.process.threads import BranchEnded, check_interrupted

LIMIT_S = 20.0


def wait() -> NoReturn:
    """Wait as for a machine, until we are told to end."""
    deadline = Deadline.after(LIMIT_S)
    while not deadline.passed:
        check_interrupted()
        threading.Event().wait(0.01)
    pytest.fail("nobody has told this branch to end")


def fail(problem: BaseException) -> NoReturn:
    raise problem


def test_results_are_in_the_order_of_the_tasks() -> None:
    second = threading.Event()

    def first() -> int:
        assert second.wait(LIMIT_S)
        return 1

    assert parallel(first, lambda: second.set() or 2) == (1, 2)  # type: ignore[func-returns-value]
    assert parallel() == ()


@pytest.mark.parametrize("fail_fast", [False, True])
def test_a_single_failure_is_raised_as_it_is(fail_fast: bool) -> None:
    failure = CommandFailed("no", result=1)
    with pytest.raises(CommandFailed) as raised:
        parallel(lambda: 1, partial(fail, failure), fail_fast=fail_fast)
    assert raised.value is failure


def test_without_being_asked_the_others_go_on_to_their_own_end() -> None:
    ended: list[int] = []

    def slow() -> None:
        check_interrupted()
        ended.append(1)

    with pytest.raises(UsageError, match=r"^no$"):
        parallel(partial(fail, UsageError("no")), slow)
    assert ended == [1]


def test_the_first_failure_ends_the_others_where_that_is_asked_for() -> None:
    cleaned: list[str] = []

    def waits() -> None:
        try:
            wait()
        finally:
            check_interrupted()  # once told, it cleans up like any other
            cleaned.append("up")

    with pytest.raises(ProjectFailed, match=r"^no$"):
        parallel(waits, partial(fail, ProjectFailed("no")), waits, fail_fast=True)
    assert cleaned == ["up", "up"]
    check_interrupted()


def test_every_failure_is_told_and_the_worst_decides() -> None:
    def client() -> None:
        raise HostError("no disk", details=("full",), hint="buy one")

    def server() -> None:
        raise CommandFailed("`false` failed: status 1", details=("one", "two"), result="its result")

    with pytest.raises(ParallelFailed) as raised:
        parallel(client, lambda: 1, server, lambda: fail(ValueError("three")))
    error = raised.value
    assert str(error) == (
        "3 of 4 have failed: client: no disk; server: `false` failed: status 1; branch 4: ValueError: three"
    )
    assert error.details == ("client:", "  full", "server:", "  one", "  two")
    assert error.hint == "buy one"
    assert [(one.name, type(one.error)) for one in error.failures] == [
        ("client", HostError), ("server", CommandFailed), ("branch 4", ValueError),
    ]  # fmt: skip
    assert isinstance(error, CommandFailed), "whoever expects that is served"
    assert error.result == "its result"
    assert (outcome_of(error), error.code) == (Outcome.FAILED, 1)
    assert error.__cause__ is error.failures[1].error


@pytest.mark.parametrize(
    ("problems", "outcome"),
    [
        ([HostError("a"), TimedOut("b")], Outcome.TIMEOUT),
        ([HostError("a"), UsageError("b"), ProjectFailed("c")], Outcome.FAILED),
        ([HostError("a"), ValueError("b")], Outcome.INTERNAL),
        ([ValueError("a"), KeyError("b")], Outcome.INTERNAL),
        ([HostError("a"), Interrupted("b")], Outcome.HOST),
        ([Interrupted("a"), Interrupted("b")], Outcome.INTERRUPTED),
    ],
)
def test_the_worst_outcome(problems: list[BaseException], outcome: Outcome) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - each of another kind
        parallel(*(partial(fail, one) for one in problems))
    assert outcome_of(raised.value) is outcome


def test_one_trouble_of_all_is_told_once() -> None:
    with pytest.raises(HostError, match=r"^no disk$"):
        parallel(*[partial(fail, HostError("no disk"))] * 3)


def test_one_limit_counts_for_all() -> None:
    def late() -> NoReturn:
        wait()

    with pytest.raises(TimedOut, match=r"^late did not end within 0\.1 s$"):
        parallel(lambda: 1, late, timeout_s=0.1)
    with pytest.raises(
        ParallelFailed, match=r"^2 of 2 have failed: late 1 did not end within 0\.1 s; late 2 did not "
    ) as raised:
        parallel(late, late, timeout_s=0.1)
    assert isinstance(raised.value, TimedOut)
    with pytest.raises(ProjectFailed, match=r"2 of 2 have failed: fail: no; late did not end within"):
        parallel(partial(fail, ProjectFailed("no")), late, timeout_s=0.1)


def test_what_is_found_out_after_the_limit_is_told_all_the_same() -> None:
    def late() -> None:
        try:
            wait()
        except BranchEnded:
            raise ProjectFailed("found out") from None

    with pytest.raises(ProjectFailed, match=r"^found out$"):
        parallel(late, timeout_s=0.1)


def test_within_another_it_ends_with_that_and_its_failures_have_both_names() -> None:
    ended: list[str] = []

    def inner() -> None:
        try:
            wait()
        finally:
            ended.append("inner")

    def outer() -> None:
        parallel(inner, inner)

    with pytest.raises(ProjectFailed, match=r"^no$"):
        parallel(outer, partial(fail, ProjectFailed("no")), fail_fast=True)
    assert ended == ["inner", "inner"]

    def pair() -> None:
        parallel(partial(fail, UsageError("a")), partial(fail, UsageError("b")))

    with pytest.raises(UsageError, match=r"^3 of 3 have failed: pair: fail 1: a; pair: fail 2: b; fail: c$"):
        parallel(pair, partial(fail, UsageError("c")))


def test_one_that_ends_within_another_leaves_that_alone() -> None:
    def pair() -> None:
        with pytest.raises(UsageError):
            parallel(wait, partial(fail, UsageError("a")), fail_fast=True)
        check_interrupted()

    assert parallel(pair, lambda: 2, fail_fast=True) == (None, 2)


@pytest.mark.parametrize("struck", [1, 2, 3])
def test_ctrl_c_while_a_thread_starts_has_nothing_done(monkeypatch: pytest.MonkeyPatch, struck: int) -> None:
    """The executor loses sight of a thread in whose start there was an interrupt, and would not wait for its work."""
    started: list[threading.Thread] = []

    class Interrupted(ThreadPoolExecutor):
        def _adjust_thread_count(self) -> None:
            super()._adjust_thread_count()  # type: ignore[misc]
            (new,) = self._threads - {*started}
            started.append(new)
            if len(started) == struck:
                self._threads.discard(new)
                raise KeyboardInterrupt

    monkeypatch.setattr(threads, "ThreadPoolExecutor", Interrupted)
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        parallel(*(lambda number=number: done.append(number) for number in range(3)))
    for thread in started:
        thread.join(LIMIT_S)
        assert not thread.is_alive()
    assert not done
