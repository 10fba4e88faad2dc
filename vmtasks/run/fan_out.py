"""A matrix, run: a process for each combination, as many at once as make sense, and one end for all."""

from __future__ import annotations

import select
import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from inspect import Signature
from typing import Any

from invoke.exceptions import Exit
from invoke.parser import Parser
from invoke.program import Program

from vmtasks import events
from vmtasks.config.settings import HostSettings
from vmtasks.deadline import Deadline
from vmtasks.errors import Outcome
from vmtasks.host import capacity
from vmtasks.image.definition import find
from vmtasks.providers.boot import expect_place
from vmtasks.run import options as recipe_options
from vmtasks.run.matrix import combinations, verdict
from vmtasks.run.matrix_process import MatrixProcess, PlannedRun
from vmtasks.run.options import RecipeOptions
from vmtasks.run.record import run_recorded

_TURN_S = 0.25
_END_LIMIT_S = 60.0
"""How long the runs may take to end in order: more than the end of a machine takes."""


def fan_out(
    name: str, options: Mapping[str, Any], signature: Signature, one_run: Callable[[dict[str, Any]], object]
) -> None:
    """Run a recipe once for each combination of the images and hosts that its options name.

    :param signature: that of the recipe's task.
    :param one_run: runs it in this process.
    :raise UsageError: an image or a host cannot be called so, or an option is for a single run.
    :raise Exit: not all runs have passed.
    """
    flags = RecipeOptions.taken_from(dict(options))
    recipe_options.accelerator(flags.accel)
    recipe_options.network(flags.network)
    wanted = combinations(options)
    for one in wanted:
        if one.image is not None:
            find(one.image)
        for place in one.on.split(",") if one.on is not None else ():
            expect_place(place)
    if flags.dry_run:
        for one in wanted:
            print(f"{one.name}:", file=sys.stderr, flush=True)  # noqa: T201 - no run that could show it is there
            _ended_well(one_run, one.over(options))
        return
    with run_recorded(name, flags, source=str(options.get("source") or ""), matrix=True) as whole:
        called = _called(name)
        plans = [
            PlannedRun(
                name=one.name,
                on=one.on,
                words=[*called, *one.words(options, signature)],
                directory=whole.directory / one.name,
            )
            for one in wanted
        ]
        if problem := verdict(_FanOut(plans).run()):
            raise problem


def _ended_well(one_run: Callable[[dict[str, Any]], object], options: dict[str, Any]) -> None:
    """Let a dry run end, as it does behind its first machine, and go on."""
    try:
        one_run(options)
    except Exit as end:
        if end.code:
            raise


def _called(name: str) -> list[str]:
    """Return the words that this program was called with, up to the task's name, and that."""
    words = sys.argv[1:]
    words = words[: words.index("--")] if "--" in words else words
    rest = Parser(initial=Program().initial_context, ignore_unknown=True).parse_argv(words).unparsed
    task = next((word for word in rest[:1] if word.rpartition(".")[2] == name), name)
    return [*words[: len(words) - len(rest)], task]


class _FanOut:
    """All runs of a matrix."""

    def __init__(self, plans: Sequence[PlannedRun]) -> None:
        settings = HostSettings.load()
        self._heartbeat_s = settings.heartbeat_s
        # One more than there are slots: it has begun by the time that one is free.
        self._at_once = 1 + (settings.machines or capacity.default_limits(emulated=False).machines)
        self._outcomes: dict[str, Outcome] = dict.fromkeys((plan.name for plan in plans), Outcome.INTERRUPTED)
        self._waiting = deque(plans)
        self._running: list[MatrixProcess] = []

    def run(self) -> dict[str, Outcome]:
        """Run all, and return what became of each, by its name.

        :raise Interrupted: we were asked to end; all runs have ended.
        """
        for plan in self._waiting:
            events.emit(plan.event())
        try:
            while self._waiting or self._running:
                self._start()
                self._watch()
        except BaseException:
            self._end()
            raise
        return self._outcomes

    def _start(self) -> None:
        """Start what may be started: the slots of a host are not in the way of another's."""
        count = Counter(one.plan.on for one in self._running)
        for plan in tuple(self._waiting):
            if count[plan.on] < self._at_once:
                count[plan.on] += 1
                self._running.append(plan.start())
                self._waiting.remove(plan)

    def _watch(self) -> None:
        """Wait for news, but not for long, and tell them."""
        select.select([one.process for one in self._running if one.process.is_open], [], [], _TURN_S)
        for one in tuple(self._running):
            if outcome := one.look(self._heartbeat_s):
                self._outcomes[one.plan.name] = outcome
                self._running.remove(one)

    def _end(self) -> None:
        """End all that run, in order if they will, and tell that the others never began."""
        for one in self._running:
            one.end()
        for plan in self._waiting:
            message = "interrupted before it began"
            events.emit(plan.event(outcome=Outcome.INTERRUPTED, message=message, duration_s=0.0))
        deadline = Deadline.after(_END_LIMIT_S)
        while self._running and not deadline.passed:
            self._watch()
        for one in self._running:
            one.process.close()
        self._watch()
