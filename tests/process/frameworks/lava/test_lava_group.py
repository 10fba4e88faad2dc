"""Jobs of LAVA's for groups, in machines that are none: real shells, real verbs, and what is written down."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.process.lab import Lab, run_shell, v1
from tests.waiting import until
from vmtasks import BootError, Guest, GuestLost, TestFailed, TimedOut, UsageError, VmtasksError, events, use_provider
from vmtasks.frameworks.lava import group_run, shell
from vmtasks.group import boot
from vmtasks.group.channel import MemberChannel
from vmtasks.group.guest_programs import GuestPaths
from vmtasks.group.roles import GroupMember
from vmtasks.group.wire import ALL_VERBS
from vmtasks.providers.base import MachineRequest
from vmtasks.testing.fake_provider import FakeProvider


@pytest.fixture(autouse=True)
def place() -> Iterator[Path]:
    """Give each member directories of its own, for what is in the same place in each machine."""
    with tempfile.TemporaryDirectory(prefix="lava-") as name, pytest.MonkeyPatch.context() as patch:
        top = Path(name)
        for directory in (top, top / "verbs"):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o777)
        (top / "bin").mkdir()
        for verb in ALL_VERBS:
            program = top / "bin" / verb
            program.write_text(f'#!/bin/sh\nexec "{top}/verbs/$LAVA_DEVICE_HOSTNAME/{verb}" "$@"\n')
            program.chmod(0o755)

        def channel(member: GroupMember, *arguments: Any, **options: Any) -> MemberChannel:
            verbs = f"{top}/verbs/{member.name}"
            paths = GuestPaths(verbs=verbs, socket=f"{verbs}-run/socket", cache=f"{verbs}-cache")
            return MemberChannel(member, *arguments, paths=paths, **options)

        patch.setattr(boot, "MemberChannel", channel)
        patch.setattr(shell, "DEFAULT_ENV", {"PATH": f"{top}/bin:{os.environ['PATH']}"})
        patch.setattr(group_run, "GUEST_HOME", f"{top}/lava-{{member}}")
        with use_provider(FakeProvider()):
            yield top


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_a_group_of_a_host_and_its_guests(lab: Lab) -> None:
    lab.definition("who", "lava-test-case role-$(lava-role) --shell test $(lava-self) = $(lava-role)")
    lab.definition("all", "lava-sync there", "lava-test-case met --result pass --measurement 3 --units s")
    commands = {"commands": ["cd /", "test $PWD = /", "false"], "role": "client"}
    problem = lab.run(v1(run_shell("who", "all"), {"command": "lava_command_run", "parameters": commands}))
    assert isinstance(problem, TestFailed)
    assert str(problem).endswith("(client: 2_lava-command-run/false)")
    members = ("host", "server", "client")
    assert lab.cases == {
        *((name, "0_who", f"role-{name}", "pass") for name in members),
        *((name, "1_all", "met", "pass") for name in members),
        *((name, "lava", suite, "pass") for name in members for suite in ("0_who", "1_all")),
        ("client", "2_lava-command-run", "cd /", "pass"),
        ("client", "2_lava-command-run", "test $PWD = /", "pass"),
        ("client", "2_lava-command-run", "false", "fail"),
        ("client", "lava", "2_lava-command-run", "pass"),
        ("", "lava", "job", "pass"),
    }
    assert {one["measurement"] for one in lab.rows if one["name"] == "met"} == {"3"}
    assert ("server", "1_all", "met", "passed") in lab.ended
    assert ("host", "send", "lava_vm_start", "passed") in lab.calls


def test_guests_begin_when_the_host_says_so_and_its_second_shell_waits_for_their_end(lab: Lab, place: Path) -> None:
    before, during = place / "before", place / "during"
    lab.definition("start", f"sleep 1; touch {before}", "lava-start-vms", "lava-wait-for-vms", f"test -e {during}")
    lab.definition("guest", f"test -e {before}", "sleep 0.5", f"touch {during}; chmod 666 {during} || :")
    lab.definition("clean", f"lava-test-case all-gone --shell test -e {during}")
    job = v1(
        run_shell("start", role="host"),
        run_shell("guest", role="server"),
        run_shell("guest", role="client"),
        run_shell("clean", role="host"),
        auto_start_vms=False,
    )
    assert lab.run(job) is None
    assert ("host", "1_clean", "all-gone", "pass") in lab.cases
    assert ("host", "wait-all", "lava_vm_stop", "passed") in lab.calls


def test_the_second_shell_of_a_host_waits_with_nobody_asking(lab: Lab, place: Path) -> None:
    lab.definition("first", "true")
    lab.definition("guest", f"sleep 1; touch {place}/$(lava-self)")
    lab.definition("clean", f"test -e {place}/server", f"test -e {place}/client")
    shells = (run_shell("first", role="host"), run_shell("clean", role="host"))
    assert lab.run(v1(*shells, run_shell("guest", role="server"), run_shell("guest", role="client"))) is None


def test_guests_that_nobody_starts_do_not_wait_for_ever(lab: Lab) -> None:
    lab.definition("first", "true")
    problem = lab.run(v1(run_shell("first"), auto_start_vms=False))
    assert isinstance(problem, TestFailed)
    assert "server was not to begin: the tests of host have ended, and none has called lava-start-vms" in str(problem)


def test_results_of_a_shell_that_took_too_long_are_kept_and_the_next_action_runs(lab: Lab) -> None:
    lab.definition("slow", "lava-test-case early --result pass", "sleep 100")
    lab.definition("next", "lava-test-case late --result pass")
    problem = lab.run(v1(run_shell("slow", role="client", timeout=2), run_shell("next", role="client")))
    assert isinstance(problem, TestFailed)
    assert "client: 0_slow: it was cut short" in str(problem)
    assert {("client", "0_slow", "early", "pass"), ("client", "1_next", "late", "pass")} <= lab.cases
    assert ("", "lava", "job", "fail") in lab.cases


V2 = """
job_name: x
protocols:
  lava-multinode:
    roles:
      server: {device_type: qemu, essential: ESSENTIAL, environment: {WORD: 'two words'}}
      client: {device_type: qemu, count: 2}
    timeout: {seconds: 30}
actions:
- deploy:
    role: [server, client]
    to: tmpfs
    images: {rootfs: {url: 'http://lab/image.img'}}
- boot: {role: [server, client], method: qemu, media: tmpfs, prompts: ['#']}
- test:
    role: [client]
    protocols:
      lava-multinode:
      - {action: multinode-test, request: lava-wait, messageID: begin}
    definitions:
    - {from: git, repository: 'https://git.example.org/tests.git', path: sub/ask.yaml, name: ask, parameters: {X: no}}
- test:
    role: [server]
    timeout: {seconds: SECONDS}
    protocols:
      lava-multinode:
      - {action: multinode-test, request: lava-send, messageID: begin, message: {port: 80}}
    definitions:
    - from: inline
      name: serve
      path: inline/serve.yaml
      repository:
        metadata: {name: other}
        run:
          steps: ['lava-test-case word --shell test "$WORD" = "two words"', 'STEP']
"""


def v2(step: str, *, seconds: int = 60, essential: str = "false") -> str:
    return V2.replace("STEP", step).replace("SECONDS", str(seconds)).replace("ESSENTIAL", essential)


def ask(lab: Lab, *steps: str) -> None:
    (lab.tests / "sub").mkdir()
    lab.definition("sub/ask", *steps)


def test_a_multinode_job(lab: Lab) -> None:
    (lab.tests / "beside").write_text("here\n")
    ask(lab, "lava-wait ready", "lava-test-case no --shell test $X = False", "cat beside; lava-sync end")
    for line in ("init --quiet", "add .", "-c user.name=x -c user.email=x@x commit --quiet -m x"):
        subprocess.run(["git", "-C", lab.tests, *line.split()], check=True)
    assert lab.run(v2("lava-send ready; lava-sync end"), "job.yaml") is None
    clients = ("client1", "client2")
    assert lab.cases == {
        ("server", "0_serve", "word", "pass"),
        ("server", "lava", "0_serve", "pass"),
        *((name, "0_ask", "no", "pass") for name in clients),
        *((name, "lava", "0_ask", "pass") for name in clients),
        ("", "lava", "job", "pass"),
    }
    assert ("client1", "wait", "begin", "passed") in lab.calls


def test_a_member_that_is_not_essential_ends_alone(lab: Lab) -> None:
    ask(lab, "lava-test-case vain --shell lava-wait-all never server")
    problem = lab.run(v2("lava-test-raise enough"), "job.yaml")
    assert isinstance(problem, TestFailed)
    assert "server: 0_serve: lava-test-raise: enough" in str(problem)
    assert {("client1", "0_ask", "vain", "fail"), ("client2", "0_ask", "vain", "fail")} <= lab.cases


def test_a_member_that_is_not_essential_need_not_boot(lab: Lab) -> None:
    class Broken(FakeProvider):
        @contextmanager
        def machine(self, request: MachineRequest) -> Iterator[Guest]:
            if request.name == "client1":
                raise BootError("client1 did not boot")
            with super().machine(request) as guest:
                yield guest

    ask(lab, "lava-test-case there --result pass")
    with use_provider(Broken()):
        problem = lab.run(v2("lava-test-case vain --shell lava-wait-all never client", essential="true"), "job.yaml")
    assert isinstance(problem, TestFailed)
    assert {("client2", "0_ask", "there", "pass"), ("server", "0_serve", "vain", "fail")} <= lab.cases
    assert courses(lab) == {"client1": "client1 is not there: client1 did not boot"}
    assert ("client1", "lava", "course", "test-failed") in lab.ended
    assert ("", "lava", "job", "fail") in lab.cases


@pytest.mark.parametrize(
    ("step", "kind", "sentence"),
    [
        ("lava-test-raise enough", TestFailed, "a test of server has ended its tests: enough"),
        ("sleep 100", TimedOut, "did not end within 2 s"),
    ],
)
def test_a_member_that_is_essential_ends_all(lab: Lab, step: str, kind: type[VmtasksError], sentence: str) -> None:
    ask(lab, "lava-test-case early --result pass", "sleep 100")
    problem = lab.run(v2(step, seconds=2, essential="true"), "job.yaml")
    assert isinstance(problem, kind)
    assert sentence in str(problem)
    assert ("", "lava", "job", "fail") in lab.cases


def courses(lab: Lab) -> dict[str, str]:
    """Return why members did not come to their end, by name."""
    rows = (one["metadata"] for one in lab.rows if (one["suite"], one["name"]) == ("lava", "course"))
    return {row["machine"]: row["message"] for row in rows}


def test_a_job_is_not_complete_whose_limit_has_passed_while_its_members_wait(lab: Lab) -> None:
    ask(lab, "true")
    text = v2("true").replace(
        "request: lava-send, messageID: begin, message: {port: 80}", "request: lava-sync, messageID: x"
    )
    problem = lab.run(f"timeouts: {{job: {{seconds: 3}}}}\n{text}", "job.yaml")
    assert isinstance(problem, TimedOut)
    assert ("", "lava", "job", "fail") in lab.cases
    reason = "the group has ended: the group did not end within 3 s"
    assert courses(lab) == dict.fromkeys(("server", "client1", "client2"), reason)


def test_a_job_is_not_complete_whose_machine_does_not_come_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def reboot(guest: Guest) -> None:
        raise GuestLost(f"{guest.name} did not come back: its boot took too long")

    monkeypatch.setattr(Guest, "reboot", reboot)
    lab.definition("x", "true")
    lab.definition("long", "sleep 100")
    boot_again = {"command": "boot_linaro_image", "parameters": {"role": "client"}}
    shells = (run_shell("x", role="client"), run_shell("long", role="server"))
    began_s = time.monotonic()
    problem = lab.run(v1(boot_again, boot_again, *shells))
    assert time.monotonic() - began_s < 60, "the others were ended"
    assert isinstance(problem, GuestLost)
    assert "client did not come back" in str(problem)
    assert ("", "lava", "job", "fail") in lab.cases
    assert courses(lab)["client"] == "client did not come back: its boot took too long"


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    """As on a terminal, though a shell that starts jobs in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_a_job_is_not_complete_that_was_interrupted_before_all_had_begun(lab: Lab, place: Path) -> None:
    lab.definition("long", f"touch {place}/begun; sleep 100")

    def interrupt() -> None:
        until("the host's tests", (place / "begun").exists, 60)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        pytest.fail(f"it ended with {lab.run(v1(run_shell('long'), auto_start_vms=False))!r}")
    thread.join()
    assert ("", "lava", "job", "fail") in lab.cases
    assert courses(lab) == dict.fromkeys(("host", "server", "client"), "interrupted")


def test_a_definition_is_read_before_any_machine_starts(lab: Lab) -> None:
    problem = lab.run(v1(run_shell("missing")))
    assert isinstance(problem, UsageError)
    assert "actions[1].parameters.testdef_repos[0]: cannot read" in str(problem)
    assert not any(isinstance(one, events.MachineStarted) for one in lab.heard)


def test_another_revision_is_that_of_the_repository(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    git = partial(subprocess.run, check=True, cwd=lab.tests, capture_output=True)
    lab.definition("x", "lava-test-case old --result pass")
    commit = partial(git, ["git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-am", "x"])
    git(["git", "init", "--quiet"])
    git(["git", "add", "."])
    commit()
    git(["git", "tag", "v1"])
    lab.definition("x", "lava-test-case new --result pass")
    commit()
    shells = run_shell("x", role="client")
    shells["parameters"]["testdef_repos"] *= 2
    old = {**shells["parameters"]["testdef_repos"][0], "revision": "v1"}
    shells["parameters"]["testdef_repos"] = [old, shells["parameters"]["testdef_repos"][1]]
    shells["parameters"]["repeat"] = 2
    git(["git", "clone", "--quiet", ".", str(lab.path / "mine")])
    head = (lab.path / "mine/.git/HEAD").read_text()
    monkeypatch.setenv("GIT_DIR", str(lab.path / "mine/.git"))  # as in a hook of git's
    assert lab.run(v1(shells)) is None
    assert {("client", f"{n}_x", result, "pass") for n, result in enumerate(["old", "new"] * 2)} <= lab.cases
    assert (lab.path / "mine/.git/HEAD").read_text() == head
    assert [one.name for one in (lab.path / "run/lava-sources").iterdir()] == ["1"]  # read once


def test_options_of_lavas_jobs_are_for_them_alone(lab: Lab) -> None:
    problem = lab.run("[[roles]]\n", "job.toml", mapping="x.toml")
    assert "they are for jobs of LAVA" in str(problem)
