"""LAVA's own shape: the host of a group is a real machine, ssh://root@board, and its guests are machines of QEMU.

The board is a fake sshd with real locks, and QEMU a fake one with a fake sshd for a guest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lava_page import PAGE
from tests.process.board import Board, on
from tests.process.lab import Lab, run_shell, v1
from tests.process.rehearsal import Rehearsal, rehearsal_in
from vmtasks import TestFailed, UsageError, events
from vmtasks.host.slots import tickets

MAPPING = """
[devices]
arndale = "BOARD"
kvm = "bookworm"
kvm-arm = "bookworm"
qemu = "bookworm"
[paths]
"file:///path/to" = "tests"
"https://git.example.org/tests.git" = "tests"
"""


@pytest.fixture
def rehearsal(place: Path, board: Board) -> Iterator[Rehearsal]:
    with rehearsal_in(place) as rehearsal:
        yield rehearsal


@pytest.fixture
def lab(tmp_path: Path, board: Board, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.chdir(tmp_path)  # so its lava.toml is the user's
    return Lab(tmp_path, MAPPING.replace("BOARD", on(board)))


def told(lab: Lab) -> list[str]:
    return [one.text for one in lab.heard if isinstance(one, events.Note)]


STEPS = """
lava-sync begin
case $(lava-role) in
host)
    lava-wait-all answer client
    lava-send bye;;
server)
    lava-send question port=80
    lava-wait bye;;
client)
    lava-wait question
    grep -q server:port=80 CACHE
    lava-send answer value='a = "b"'
    lava-wait bye;;
esac
lava-test-case $(lava-role)-done --result pass --measurement 3 --units s
"""


def test_the_pages_own_job_on_a_board(lab: Lab, board: Board, place: Path, rehearsal: Rehearsal) -> None:
    cache = rehearsal.member("client") / "lava_multi_node_cache.txt"
    lab.definition("mytestdef", STEPS.replace("CACHE", str(cache)))
    assert lab.run(json.dumps(PAGE)) is None
    members = ("host", "server", "client")
    assert lab.cases == {
        *((name, "0_mytestdef", f"{name}-done", "pass") for name in members),
        *((name, "lava", "0_mytestdef", "pass") for name in members),
        ("", "lava", "job", "pass"),
    }
    assert any(
        text.endswith(f"nothing is deployed to the role 'host': {on(board)} stands for it, and is used as it is")
        for text in told(lab)
    )
    started = {one.machine: one.host for one in lab.heard if isinstance(one, events.MachineStarted)}
    assert started == {"host": on(board), "server": "local", "client": "local"}
    assert ("host", "send", "lava_vm_start", "passed") in lab.calls
    assert [*rehearsal.member("host").iterdir()] == [], "programs, files of tests and cache files are gone"
    assert (place / "state" / "lock").read_text() == ""
    assert tickets(rehearsal.queue) == ()


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("true", ""),
        ("false", "server: 0_guest: its steps ended with status 1"),
        ("lava-test-raise enough", "server: 0_guest: lava-test-raise: enough"),
        ("sleep 100", "server: 0_guest: it was cut short"),
    ],
)
def test_the_second_shell_of_a_board_runs_when_the_tests_of_all_guests_have_ended(
    lab: Lab, rehearsal: Rehearsal, step: str, says: str
) -> None:
    ended = rehearsal.member("client") / "ended"
    lab.definition("first", "lava-start-vms", "lava-wait-for-vms")
    lab.definition("guest", step)
    lab.definition("other", f"sleep 1; touch {ended}")
    lab.definition("clean", f"lava-test-case clean --shell test -e {ended}")
    shells = (
        run_shell("first", role="host"),
        run_shell("guest", role="server", timeout=2),
        run_shell("other", role="client"),
        run_shell("clean", role="host"),
    )
    problem = lab.run(v1(*shells, auto_start_vms=False))
    assert ("host", "1_clean", "clean", "pass") in lab.cases
    assert ("host", "wait-all", "lava_vm_stop", "passed") in lab.calls
    assert (problem is None) is (not says)
    assert isinstance(problem, TestFailed | None)
    assert says in str(problem)
    assert at(lab, events.CaseEnded, machine="host", case="clean") > max(
        at(lab, events.GroupCall, machine=name, verb="send", id="lava_vm_stop") for name in ("server", "client")
    )


def at(lab: Lab, kind: type[events.Event], **fields: str) -> int:
    """Return the place of an event among all."""
    return next(
        number
        for number, one in enumerate(lab.heard)
        if isinstance(one, kind) and all(getattr(one, name) == value for name, value in fields.items())
    )


def test_guests_learn_the_boards_own_address(lab: Lab, board: Board, rehearsal: Rehearsal) -> None:
    board.answers["SSH_CONNECTION"] = "echo $$; echo 192.0.2.7"
    cache = rehearsal.member("server") / "lava_multi_node_cache.txt"
    lab.definition("host", "lava-test-case own --shell test $_LAVA_VM_GROUP_HOST_IP = 192.0.2.7")
    lab.definition(
        "guest", "lava-wait lava_vm_start", f"lava-test-case hosts --shell grep host:host_ip=192.0.2.7 {cache}"
    )
    assert lab.run(v1(run_shell("host", role="host"), run_shell("guest", role="server"))) is None
    assert {("host", "0_host", "own", "pass"), ("server", "0_guest", "hosts", "pass")} <= lab.cases


V2 = """
job_name: x
protocols:
  lava-multinode:
    roles:
      host: {device_type: arndale}
      guest: {device_type: qemu}
    timeout: {seconds: 30}
actions:
- deploy: {role: host, to: tftp, kernel: {url: 'http://lab/zImage'}, os: debian}
- deploy: {role: guest, to: tmpfs, images: {rootfs: {url: 'http://lab/image.img'}}}
- boot: {role: host, method: u-boot, commands: nfs}
- boot: {role: guest, method: qemu}
- test:
    role: [host, guest]
    definitions:
    - from: inline
      name: meet
      path: inline/meet.yaml
      repository:
        metadata: {name: meet}
        run:
          steps: ['lava-sync there', 'lava-test-case $(lava-self)-met --result pass']
"""


def test_a_multinode_job_has_a_board_for_a_role(lab: Lab) -> None:
    assert lab.run(V2, "job.yaml") is None
    assert {("host", "0_meet", "host-met", "pass"), ("guest", "0_meet", "guest-met", "pass")} <= lab.cases


def test_a_job_that_brings_its_mapping_along_is_given_no_host(
    lab: Lab, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    lab.definition("mytestdef", "true")
    problem = lab.run(json.dumps(PAGE))
    assert isinstance(problem, UsageError)
    assert "and is the job's own: jobs name no hosts of yours" in str(problem)
    assert not any(isinstance(one, events.MachineStarted) for one in lab.heard)
