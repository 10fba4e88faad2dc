"""A real master whose worker is there only while it builds, in real machines."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.buildbot.farm import Farm, until
from vmtasks.host.lease import Lease, leases
from vmtasks.image.definition import find
from vmtasks.providers.qemu.provider import ensure_baked

LIMIT_S = 900.0
"""Waiting for a slot behind somebody else's machines is part of it."""
CONFIG = Path(__file__).parents[1] / "buildbot/latent_master.cfg"


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    ensure_baked(find("bookworm-buildbot-worker"))
    farm = Farm(home=tmp_path, config=CONFIG)
    farm.create()
    farm.start_master()
    try:
        yield farm
    finally:
        farm.end("master")
        print((tmp_path / "master/twistd.log").read_text())  # noqa: T201 - for whoever looks why it failed
    assert not ours()


def ours() -> list[Lease]:
    return [lease for lease in leases() if lease.info.get("what") == "the Buildbot worker machine"]


@contextmanager
def machine() -> Iterator[None]:
    """Wait for a machine at the beginning of the block, and at its end until nothing is left of it."""
    (lease,) = until("machine", lambda: [one for one in ours() if one.info.get("qemu_pid")], LIMIT_S)
    qemu = os.pidfd_open(lease.info["qemu_pid"])
    yield
    assert select.select([qemu], [], [], LIMIT_S)[0]
    os.close(qemu)
    until("end of the lease", lambda: not lease.directory.exists())


def results(farm: Farm, request: int) -> list[str]:
    until("end of the builds", lambda: farm.get(f"buildrequests/{request}")[0]["complete"], LIMIT_S)
    return [result for result, _ in farm.ended(request)]


def test_each_of_three_builds_has_a_clean_machine_and_nothing_is_left_of_it(farm: Farm) -> None:
    for _ in range(3):
        request = farm.force("machine")
        with machine():
            assert results(farm, request) == ["success"]


def test_a_master_that_is_killed_takes_its_machine_along(farm: Farm) -> None:
    request = farm.force("machine")
    with machine():
        farm.end("master", kill=True)
    farm.start_master()
    assert results(farm, request) == ["retry", "success"]
