"""How long a test case has taken."""

from __future__ import annotations

import time

from vmtasks import events
from vmtasks.process.threads import parallel
from vmtasks.run.stopwatch import stopwatch


def waited(seconds: float, phase: str = "slot") -> None:
    events.emit(events.PhaseEnded(phase=phase, machine="", duration_s=seconds))


def test_it_is_what_has_passed_without_the_waits_of_all_its_threads() -> None:
    began_s = time.monotonic() - 1000
    with stopwatch() as watch:
        watch._began_s = began_s
        waited(100)
        waited(50, phase="boot")
        parallel(lambda: waited(200), lambda: parallel(lambda: waited(300)))
    waited(7)  # another case's
    assert 400 <= watch.seconds < 460


def test_cases_beside_each_other_have_their_own_waits() -> None:
    seconds: dict[str, float] = {}

    def case(name: str, wait_s: float) -> None:
        with stopwatch() as watch:
            watch._began_s -= 100
            waited(wait_s)
            seconds[name] = watch.seconds

    parallel(lambda: case("one", 90), lambda: case("other", 20))
    assert 10 <= seconds["one"] < 20
    assert 80 <= seconds["other"] < 90


def test_it_is_never_below_zero() -> None:
    with stopwatch() as watch:
        waited(1000)
        waited(1000)
    assert watch.seconds == 0
