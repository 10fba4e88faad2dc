"""A real master and a real worker, and runs without machines: what becomes of a build."""

from __future__ import annotations

import json
import re
import urllib.error
from pathlib import Path

import pytest
from buildbot.config import ConfigErrors
from buildbot.config.master import FileLoader

from tests.buildbot.farm import ROOT, Farm
from tests.waiting import until
from vmtasks.host.slots import Claim, Limits
from vmtasks.integrations.buildbot.step import VmTask

BUILDER = "test-in-vm-bookworm"


def test_masters_find_what_is_ours_among_their_plugins() -> None:
    from buildbot.plugins import steps, util, worker

    from vmtasks.integrations.buildbot.latent import VMLatentWorker
    from vmtasks.integrations.buildbot.prepared_image import PreparedImage
    from vmtasks.integrations.buildbot.rebake import bakes
    from vmtasks.integrations.buildbot.step import VmTask

    assert (steps.VmTask, worker.VMLatentWorker, util.bakes) == (VmTask, VMLatentWorker, bakes)
    assert util.PreparedImage is PreparedImage


def test_a_run_that_passes_shows_its_logs_and_hands_over_its_artifacts(farm: Farm) -> None:
    request = farm.force(BUILDER, "pass")
    assert [results for results, _ in farm.ended(request)] == ["success"]
    (build,) = farm.builds(request)
    step = farm.step(build)
    assert step["state_string"].startswith("test-in-vm passed in ")
    assert "; boot 0." in step["state_string"]
    log_dir = farm.logs(step)
    assert log_dir["test-01-make_check.log"] == "all is well\n"
    assert log_dir["test-console.log"].count("\N{GREEK SMALL LETTER ALPHA}") == 40_000
    assert json.loads(log_dir["result.json"])["outcome"] == "passed"
    assert "junit.xml" in log_dir
    artifact = farm.home / f"master/artifacts/{BUILDER}/{build['number']}/hello.tar.gz"
    assert artifact.read_text() == "an artifact"
    (upload,) = (step for step in farm.get(f"builds/{build['buildid']}/steps") if step["name"] == "upload")
    assert upload["urls"] == [{"name": "artifacts", "url": f"http://artifacts.example/{BUILDER}/{build['number']}/"}]


def test_a_failing_test_is_a_failure_at_once(farm: Farm) -> None:
    request = farm.force(BUILDER, "fail")
    ((results, text),) = farm.ended(request)
    assert results == "failure"
    assert "test-in-vm: `make check` on test ended with status 1" in text
    (build,) = farm.builds(request)
    where, rerun = farm.logs(farm.step(build))["rerun"].splitlines()
    assert rerun == "make test-in-vm PROJECT=../project IMAGE=bookworm"
    assert re.search(r"in \.\./project, at commit [0-9a-f]{40}:$", where)


def test_no_page_shows_the_environment_of_a_worker(farm: Farm) -> None:
    for builder in (BUILDER, "rebake-big"):
        request = farm.force(builder, "pass")
        assert farm.ended(request)[-1][0] == "success"
        (build,) = farm.builds(request)
        steps = farm.get(f"builds/{build['buildid']}/steps")
        shown = "".join(text for step in steps for text in farm.logs(step).values())
        assert "VMTASKS_SLOTS=1" not in shown


def test_results_that_cannot_be_read_are_an_exception(farm: Farm) -> None:
    ((results, text),) = farm.ended(farm.force("build-deb-trixie"))
    assert results == "exception"
    assert "make build-deb ended with status 0 and results that cannot be read (result.json)" in text


def test_infrastructure_is_tried_again_and_then_passes(farm: Farm) -> None:
    (first, text), (second, _) = farm.ended(farm.force(BUILDER, "host pass"))
    assert (first, second) == ("retry", "success")
    assert "test-in-vm: cannot make a disk: no room (attempt 1 of 3); big takes no build for 0." in text


def test_a_host_that_fails_at_once_does_not_take_all_attempts(tmp_path: Path) -> None:
    farm = Farm(home=tmp_path, rest_s=600)
    farm.create()
    with farm.running(with_worker=False, kill=True):
        farm.start_worker("big", BEHAVIOUR="host")  # preferred to the other: see master.cfg
        farm.start_worker("small")
        request = farm.force(BUILDER, "pass")
        assert [results for results, _ in farm.ended(request)] == ["retry", "success"]


def test_stop_ends_the_run_in_order(farm: Farm) -> None:
    request = farm.force(BUILDER, "wait")
    build = farm.waits(request)
    assert farm.step(build)["state_string"] == "test: boot (bookworm)"
    until("console, while it runs", lambda: "test-console.log" in farm.logs(farm.step(build)))
    farm.control(f"builds/{build['buildid']}", "stop", reason="enough")
    ((results, text),) = farm.ended(request)
    assert results == "cancelled"
    assert "enough" in text
    assert json.loads(farm.logs(farm.step(build))["result.json"])["outcome"] == "interrupted"


def test_a_time_limit_is_a_failure(farm: Farm) -> None:
    ((results, text),) = farm.ended(farm.force(BUILDER, "wait", limit_s=10))
    assert results == "failure"
    assert "test-in-vm: a limit of the build step has passed" in text


def test_a_limit_that_passes_while_others_have_the_slots_says_nothing_of_the_project(farm: Farm) -> None:
    (farm.home / "build").touch()  # a machine that is had is enough
    with Claim("a machine of somebody's", 100, Limits(machines=1, memory_mib=1000), directory=str(farm.queue)) as slot:
        slot.wait(lambda _: None)
        request = farm.force(BUILDER, "machine", limit_s=15)
        until("second attempt", lambda: len(farm.builds(request)) > 1)
    (first, text), *others = farm.ended(request)
    assert first == "retry"
    assert "test-in-vm: no slot was free within the step's limit (attempt 1 of 3)" in text
    assert others[-1][0] == "success"


def test_no_limit_of_silence_ends_a_run_that_waits_for_a_slot_unless_one_is_set() -> None:
    assert VmTask().timeout is None
    assert VmTask(timeout=5).timeout == 5


def test_a_build_whose_worker_is_killed_is_made_again(farm: Farm) -> None:
    request = farm.force(BUILDER, "wait")
    farm.waits(request)
    (run,) = (path for path in farm.runs() if outcome(path) == "running")
    farm.end("big", kill=True)
    until("end of the run", lambda: outcome(run) == "interrupted" and not farm.left())
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
    until("end of the run", lambda: outcome(run) == "interrupted" and not farm.left())
    farm.behave("pass")
    farm.start_master()
    assert [results for results, _ in farm.ended(request)] == ["retry", "success"]


def test_infrastructure_is_given_up_in_the_end(farm: Farm) -> None:
    *retries, (last, text) = farm.ended(farm.force(BUILDER, "host"))
    assert [results for results, _ in retries] == ["retry", "retry"]
    assert last == "exception"
    assert "(attempt 3 of 3)" in text


def test_a_target_that_leaves_no_results_is_an_exception(farm: Farm) -> None:
    ((results, text),) = farm.ended(farm.force("build-deb-bookworm"))
    assert results == "exception"
    assert "make build-deb ended with status 2 and no results" in text


@pytest.mark.parametrize(("behaviour", "results"), [("pass", "success"), ("fail", "failure"), ("host", "exception")])
def test_the_plain_step_of_the_documentation_ends_as_its_run(farm: Farm, behaviour: str, results: str) -> None:
    request = farm.force("plain", behaviour, scheduler="force-plain")
    assert [result for result, _ in farm.ended(request)] == [results]


def test_the_nightly_baking_leaves_no_image_of_the_table_stale(farm: Farm) -> None:
    (farm.home / "vmtasks/asked").unlink(missing_ok=True)  # of another test
    request = farm.force("rebake-big")
    assert [results for results, _ in farm.ended(request)] == ["success"]
    (build,) = farm.builds(request)
    steps = [step["name"] for step in farm.get(f"builds/{build['buildid']}/steps")]
    assert steps[-3:] == ["images.bake bookworm-buildbot-worker", "images.bake trixie-build", "images.prune"]
    assert (farm.home / "vmtasks/asked").read_text().splitlines() == [
        "make setup",
        "images.bake bookworm --refresh",
        "images.bake trixie --refresh",
        "images.bake bookworm-build",
        "images.bake bookworm-buildbot-worker",
        "images.bake trixie-build",
        "images.prune",
    ]


def test_nothing_is_done_for_whom_did_not_log_in(farm: Farm) -> None:
    (builderid,) = (one["builderid"] for one in farm.get("builders") if one["name"] == BUILDER)
    for path, method in [("forceschedulers/force", "force"), ("workers/1", "pause"), ("builds/1", "stop")]:
        with pytest.raises(urllib.error.HTTPError, match="403"):
            farm.control(path, method, login=False, builderid=builderid)


@pytest.mark.parametrize(
    ("mode", "complaint"), [(None, "there is no .*password-big: "), (0o640, "others may read .*password-big")]
)
def test_a_password_that_is_missing_or_that_others_may_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int | None, complaint: str
) -> None:
    monkeypatch.setenv("PROJECT", "https://example.org/parrot.git")
    for name in ("web-password", "password-big"):
        if mode or name == "web-password":
            (tmp_path / name).touch()
            (tmp_path / name).chmod(mode if mode and name == "password-big" else 0o600)
    with pytest.raises(ConfigErrors, match=complaint):
        FileLoader(str(tmp_path), str(ROOT / "examples/buildbot/master.cfg")).loadConfig()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Buildbot imports
def test_without_a_web_server_for_artifacts_there_is_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROJECT", "https://example.org/parrot.git")
    monkeypatch.delenv("ARTIFACTS_URL", raising=False)
    for name in ("web-password", "password-big"):
        (tmp_path / name).touch(0o600)
    config = FileLoader(str(tmp_path), str(ROOT / "examples/buildbot/master.cfg")).loadConfig()
    uploads = [
        builder.factory.steps[-1] for builder in config.builders if builder.name in {BUILDER, "tarbake-bookworm"}
    ]
    assert [upload.step_class.__name__ for upload in uploads] == ["MultipleFileUpload"] * 2
    assert [upload.kwargs["url"] for upload in uploads] == [None, None]


def test_a_master_that_is_not_told_the_project_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROJECT", raising=False)
    with pytest.raises(ConfigErrors, match="PROJECT is not set: it is to be the URL of a git repository"):
        FileLoader(str(tmp_path), str(ROOT / "examples/buildbot/master.cfg")).loadConfig()


def outcome(run: Path) -> str:
    return str(json.loads(run.read_text()).get("outcome"))
