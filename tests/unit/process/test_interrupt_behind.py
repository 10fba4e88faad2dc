"""An interrupt whose place another failure takes, while what it ends is cleaned up."""

from __future__ import annotations

import pytest

from vmtasks import ConnectionLost
from vmtasks.process.signals import InterruptedBySignal, interrupt_behind
from vmtasks.process.threads import BranchEnded


def failed_cleaning_up_after(interrupt: BaseException, *, told: bool = False) -> BaseException:
    try:
        try:
            raise interrupt
        finally:
            try:
                raise ConnectionLost("the machine is gone")
            except ConnectionLost as problem:
                if told:
                    raise ConnectionLost("and so is the group") from problem
                raise
    except BaseException as problem:  # noqa: BLE001 - whatever it is
        return problem


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), InterruptedBySignal("interrupted by SIGTERM")])
def test_it_is_found_behind_what_took_its_place(interrupt: BaseException, told: bool) -> None:
    assert interrupt_behind(failed_cleaning_up_after(interrupt, told=told)) is interrupt
    assert interrupt_behind(interrupt) is interrupt


def test_the_end_of_a_branch_is_not_taken_for_one() -> None:
    problem = failed_cleaning_up_after(BranchEnded("another has failed"))
    assert interrupt_behind(problem) is problem
    assert interrupt_behind(ValueError()).args == ()
