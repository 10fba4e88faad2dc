"""What all tests share: they run alike, however pytest was called."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bigger_host import BiggerHost, bigger_host
from vmtasks import events

pytest.register_assert_rewrite("tests.contract")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Refine ``--dist loadfile``, which is how make calls it: some files must not run beside each other."""
    if config.getoption("dist") != "loadfile":
        return None
    from tests.lanes import Lanes

    return Lanes(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: the tests that have machines wait for them most of their time."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(autouse=True, scope="session")
def _signals_are_heard_below() -> None:
    """Under nohup(1) or as a job in the background, too, what tests start is ended as usual: exec drops handlers."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(autouse=True, scope="session")
def _makes_variables_stay_with_it() -> None:
    """What `make check` was given is not for the makes that tests call."""
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "ARGS", "EXTRAS"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _old_names_are_told_to_each_test() -> None:
    """What one test did not hear of old names is not for the next."""
    events.unheard()
    events._renamed.clear()


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BiggerHost]:
    """A host that is not this one; images that it was sent, and templates made there, are there for all tests."""
    with bigger_host(tmp_path_factory.mktemp("bigger")) as host:
        yield host
