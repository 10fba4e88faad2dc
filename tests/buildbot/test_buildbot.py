"""A real master and a real worker, and runs without machines: what becomes of a build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.buildbot.farm import Farm
from tests.waiting import until
from vmtasks.buildbot.step import VmTask

BUILDER = "test-in-vm-bookworm"


def test_a_run_that_passes_shows_its_logs_and_hands_over_its_products(farm: Farm) -> None:
    request = farm.force(BUILDER, "pass")
    assert [results for results, _ in farm.ended(request)] == ["success"]
    (build,) = farm.builds(request)
    step = farm.step(build)
    assert step["state_string"].startswith("test-in-vm passed in ")
    assert "; boot 0." in step["state_string"]
    logs = farm.logs(step)
    assert logs["test-01-make_check.log"] == "all is well\n"
    assert logs["test-console.log"].count("\N{GREEK SMALL LETTER ALPHA}") == 40_000
    assert json.loads(logs["result.json"])["outcome"] == "passed"
    assert "junit.xml" in logs
    product = farm.home / f"master/products/{BUILDER}/{build['number']}/hello.tar.gz"
    assert product.read_text() == "a product"


def test_a_failing_test_is_a_failure_at_once(farm: Farm) -> None:
    ((results, said),) = farm.ended(farm.force(BUILDER, "fail"))
    assert results == "failure"
    assert "test-in-vm: `make check` on test ended with status 1" in said


def test_infrastructure_is_tried_again_and_then_passes(farm: Farm) -> None:
    (first, said), (second, _) = farm.ended(farm.force(BUILDER, "host pass"))
    assert (first, second) == ("retry", "success")
    assert "test-in-vm: cannot make a disk: no room (attempt 1 of 3)" in said


def test_stop_ends_the_run_in_order(farm: Farm) -> None:
    request = farm.force(BUILDER, "wait")
    build = farm.waits(request)
    assert farm.step(build)["state_string"] == "test: boot (bookworm)"
    until("console, while it runs", lambda: "test-console.log" in farm.logs(farm.step(build)))
    farm.control(f"builds/{build['buildid']}", "stop", reason="enough")
    ((results, said),) = farm.ended(request)
    assert results == "cancelled"
    assert "enough" in said
    assert json.loads(farm.logs(farm.step(build))["result.json"])["outcome"] == "interrupted"


def test_a_time_limit_is_a_failure(farm: Farm) -> None:
    ((results, said),) = farm.ended(farm.force(BUILDER, "wait", limit_s=2))
    assert results == "failure"
    assert "test-in-vm: a limit of the build step has passed" in said


def test_no_limit_of_silence_ends_a_run_that_waits_for_a_slot_unless_one_is_set() -> None:
    assert VmTask().timeout is None
    assert VmTask(timeout=5).timeout == 5


def test_a_build_whose_worker_is_killed_is_made_again(farm: Farm) -> None:
    request = farm.force(BUILDER, "wait")
    farm.waits(request)
    (run,) = (path for path in farm.runs() if outcome(path) == "running")
    farm.end("worker", kill=True)
    until("end of the run", lambda: outcome(run) == "interrupted")
    farm.behave("pass")
    farm.start_worker()
    assert [results for results, _ in farm.ended(request)] == ["retry", "success"]
    assert not run.exists(), "results of earlier builds go"


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "ended"])
def test_a_build_whose_master_is_restarted_is_made_again(farm: Farm, kill: bool) -> None:
    request = farm.force(BUILDER, "wait")
    farm.waits(request)
    (run,) = (path for path in farm.runs() if outcome(path) == "running")
    farm.end("master", kill=kill)
    until("end of the run", lambda: outcome(run) == "interrupted")
    farm.behave("pass")
    farm.start_master()
    assert [results for results, _ in farm.ended(request)] == ["retry", "success"]


def test_infrastructure_is_given_up_in_the_end(farm: Farm) -> None:
    *retries, (last, said) = farm.ended(farm.force(BUILDER, "host"))
    assert [results for results, _ in retries] == ["retry", "retry"]
    assert last == "exception"
    assert "(attempt 3 of 3)" in said


def test_a_target_that_leaves_no_results_is_an_exception(farm: Farm) -> None:
    ((results, said),) = farm.ended(farm.force("build-deb-bookworm"))
    assert results == "exception"
    assert "make build-deb ended with status 2 and no results" in said


def outcome(run: Path) -> str:
    return str(json.loads(run.read_text())["outcome"])
