"""One Buildbot for all tests of a module, and a look at what each leaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.buildbot.farm import Farm
from tests.waiting import until


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    farm = Farm(home=tmp_path_factory.mktemp("farm"), environ={"VMTASKS_SLOTS": "1"})
    farm.create()
    with farm.running(kill=True):
        yield farm


@pytest.fixture(autouse=True)
def _nothing_of_a_run_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "farm" in request.fixturenames:
        farm = request.getfixturevalue("farm")
        until(f"end of {farm.left()}", lambda: not farm.left())
