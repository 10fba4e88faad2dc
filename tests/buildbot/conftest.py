"""One Buildbot for all tests of this tier."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.buildbot.farm import Farm


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    farm = Farm(home=tmp_path_factory.mktemp("farm"))
    farm.create()
    with farm.running(kill=True):
        yield farm
