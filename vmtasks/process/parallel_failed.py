"""What several things that run at once come to when more than one of them fails: one error, which names each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vmtasks.errors import WORST_FIRST, Interrupted, VmtasksError, message_of, outcome_of

_LINES = 8
"""How many lines of each failure's details are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchFailure:
    """What one of them failed with."""

    name: str
    """The branch: its function's name, with that of what it works on; of one within another, both."""
    error: BaseException


class ParallelFailed(VmtasksError):
    """Several things that ran at once have failed; it is also of the kind of the worst of them.

    :param failures: each of them, in the order in which they were named.
    :param count: how many ran.
    """

    failures: tuple[BranchFailure, ...]

    def __init__(self, failures: Sequence[BranchFailure], count: int) -> None:
        told = "; ".join(map(_told, failures))
        hints = (one.error.hint for one in failures if isinstance(one.error, VmtasksError))
        super().__init__(
            f"{len(failures)} of {count} have failed: {told}",
            details=tuple(line for one in failures for line in _details(one)),
            hint=next(filter(None, hints), ""),
        )
        self.failures = tuple(failures)


def failure_of(failures: Sequence[BranchFailure], count: int) -> BaseException | None:
    """Return what to raise: nothing, the one failure as it is, or all of them in one.

    Those that were told to end have not failed, unless there is nothing else.
    """
    leaves = [leaf for one in failures for leaf in _leaves(one)]
    real = [one for one in leaves if not isinstance(one.error, Interrupted)] or leaves[:1]
    if len({message_of(one.error) for one in real}) <= 1:  # or the same for all
        return real[0].error if real else None
    worst = min(real, key=_rank).error
    error = _kind_of(type(worst) if isinstance(worst, VmtasksError) else VmtasksError)(real, max(count, len(real)))
    error.__cause__ = worst
    for name in ("result",):  # of a command
        if hasattr(worst, name):
            setattr(error, name, getattr(worst, name))
    return error


def names_of(tasks: Sequence[Callable[[], Any]]) -> list[str]:
    """Return what messages call each task; those of one name have a number."""
    names = [_name_of(task) for task in tasks]
    return [
        name if name and names.count(name) == 1 else f"{name or 'branch'} {place}"
        for place, name in enumerate(names, 1)
    ]


def _name_of(task: Callable[[], Any]) -> str:
    if isinstance(task, partial):
        about = (str(getattr(one, "name", one)) for one in task.args if isinstance(getattr(one, "name", one), str))
        return " ".join(filter(None, (_name_of(task.func), *about)))[:80]
    name = str(getattr(task, "__name__", ""))
    return "" if name == "<lambda>" else name


def _told(failure: BranchFailure) -> str:
    message = message_of(failure.error)
    return message if message.startswith(failure.name) else f"{failure.name}: {message}"


def _leaves(failure: BranchFailure) -> Iterator[BranchFailure]:
    if not isinstance(failure.error, ParallelFailed):
        yield failure
        return
    for one in failure.error.failures:
        yield BranchFailure(name=f"{failure.name}: {one.name}", error=one.error)


def _rank(failure: BranchFailure) -> int:
    outcome = outcome_of(failure.error)
    ranks = [place for place, kind in enumerate(WORST_FIRST) if kind.outcome is outcome]
    return ranks[0] if ranks else len(WORST_FIRST)


def _kind_of(worst: type[VmtasksError]) -> type[ParallelFailed]:
    """Return the kind of error that is both, so that whoever expects the one or the other is served."""
    if issubclass(ParallelFailed, worst):
        return ParallelFailed
    return type("ParallelFailed", (ParallelFailed, worst), {})


def _details(failure: BranchFailure) -> Iterator[str]:
    lines = failure.error.details[-_LINES:] if isinstance(failure.error, VmtasksError) else ()
    if lines:
        yield f"{failure.name}:"
        yield from (f"  {line}" for line in lines)
