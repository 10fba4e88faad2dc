"""A real master and workers that exist only while they build, in directories of their own instead of machines."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from buildbot.config import ConfigErrors
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tests.buildbot.farm import Farm
from tests.waiting import until
from vmtasks.integrations.buildbot.latent import VMLatentWorker, master_address


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    home = tmp_path_factory.mktemp("farm")
    no_room = {"VMTASKS_CACHE": str(home / "master/web-password")}  # for the worker in real machines, that is
    farm = Farm(home=home, config=Path(__file__).with_name("latent_master.cfg"), environ=no_room)
    farm.create()
    with farm.running(with_worker=False):
        yield farm


def machines(farm: Farm) -> list[Path]:
    return list((farm.home / "machines").glob("*"))


def working(farm: Farm, request: int) -> int:
    """Return the process of a request's worker, once its build is under way; nothing else is there."""
    until("build", lambda: farm.builds(request) and farm.step(farm.builds(request)[-1], "mark"))
    (machine,) = machines(farm)
    until("marker", (machine / "worker/marker").exists)
    return int((machine / "worker/pid").read_text())


def text_of(farm: Farm, request: int) -> str:
    """Return what was said of the preparations of a request's builds."""
    steps = [farm.step(build, "worker_preparation") for build in farm.builds(request)]
    return "".join(text for step in steps for text in farm.logs(step).values())


def results(farm: Farm, request: int) -> list[str]:
    """Return the results of a request's builds once all is over, machines as well."""
    found = [result for result, _ in farm.ended(request)]
    until("end of the machines", lambda: not machines(farm))
    return found


def test_each_build_has_a_machine_of_its_own_which_is_gone_afterwards(farm: Farm) -> None:
    requests = [farm.force("patient", "pass") for _ in range(3)]
    assert [results(farm, request) for request in requests] == [["success"]] * 3


def test_a_machine_that_does_not_boot_is_tried_again_and_says_why(farm: Farm) -> None:
    request = farm.force("patient", "boot pass")
    assert results(farm, request) == ["retry", "success"]
    assert "cannot boot: boot" in text_of(farm, request)


def test_a_machine_that_never_boots_is_given_up(farm: Farm) -> None:
    request = farm.force("patient", "boot")
    assert results(farm, request) == ["retry", "retry", "exception"]
    assert "cannot boot: boot" in text_of(farm, request)


def test_a_machine_that_is_lost_in_every_build_is_given_up(farm: Farm) -> None:
    request = farm.force("patient", "die")
    assert results(farm, request) == ["retry", "retry", "retry", "exception"]
    assert "patient: given up after 3 builds that ended in RETRY" in text_of(farm, request)


def test_a_host_that_cannot_is_not_asked_again_and_says_why(farm: Farm) -> None:
    request = farm.force("machine")
    assert results(farm, request) == ["exception"]
    cache = farm.home / "master/web-password"
    assert f"machine: cannot write to the cache {cache}/images: Not a directory" in text_of(farm, request)


def test_what_cannot_be_is_not_asked_for_again_and_waiting_for_a_slot_has_no_limit(farm: Farm) -> None:
    request = farm.force("hasty", "usage")
    assert results(farm, request) == ["exception"]
    assert "cannot boot: usage" in text_of(farm, request)


def test_a_worker_that_never_calls_is_given_up(farm: Farm) -> None:
    request = farm.force("hasty", "silent usage")
    assert results(farm, request) == ["retry", "exception"]
    assert "the worker did not call the master within 1 s" in text_of(farm, request)


def test_a_build_that_waits_for_a_slot_says_so_and_can_be_stopped(farm: Farm) -> None:
    request = farm.force("patient", "slot")
    shown = "preparing worker: bookworm: waiting for a slot behind others"
    until("news", lambda: any(build["state_string"] == shown for build in farm.builds(request)))
    farm.control(f"builds/{farm.builds(request)[0]['buildid']}", "stop", reason="enough")
    assert results(farm, request) == ["cancelled"]


def test_stop_in_the_middle_of_a_build_ends_its_machine(farm: Farm) -> None:
    request = farm.force("patient", "wait")
    working(farm, request)
    farm.control(f"builds/{farm.builds(request)[0]['buildid']}", "stop", reason="enough")
    assert results(farm, request) == ["cancelled"]


def test_a_build_whose_machine_dies_is_made_again(farm: Farm) -> None:
    request = farm.force("patient", "wait pass")
    os.kill(working(farm, request), signal.SIGKILL)
    assert results(farm, request) == ["retry", "success"]


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "ended"])
def test_a_build_whose_master_is_restarted_is_made_again(farm: Farm, kill: bool) -> None:
    request = farm.force("patient", "wait pass")
    working(farm, request)
    farm.end("master", kill=kill)
    until("end of the machine", lambda: not machines(farm))
    farm.start_master()
    assert results(farm, request) == ["retry", "success"]


def test_an_image_that_is_not_there_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigErrors, match="worker vm1: there is no image 'bookwrm'; did you mean 'bookworm'"):
        VMLatentWorker("vm1", "bookwrm")


def test_a_network_that_there_is_not_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigErrors, match="worker vm1: network must be one of user, restricted, none, and not 'off'"):
        VMLatentWorker("vm1", "bookworm", network="off")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "named"),
    [
        (UNIXAddress(b"workers.sock"), "/srv/master/workers.sock"),
        (UNIXAddress(b"/run/w.sock"), "/run/w.sock"),
        (IPv4Address("TCP", "0.0.0.0", 9989), "127.0.0.1:9989"),  # noqa: S104 - nothing is bound
        (IPv4Address("TCP", "192.0.2.1", 9989), "192.0.2.1:9989"),
        (IPv6Address("TCP", "::", 9989), "[::1]:9989"),
    ],
)
def test_every_kind_of_port_that_a_master_has_is_named_for_ssh(
    address: UNIXAddress | IPv4Address | IPv6Address, named: str
) -> None:
    assert master_address(address, "/srv/master") == named
