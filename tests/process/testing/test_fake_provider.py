"""The fake that others test their recipes with: it keeps the contract of the real ones."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from paramiko import Transport

from tests.contract import ProviderContract
from vmtasks import BootOptions, Provider, boot, use_provider
from vmtasks.providers.base import MachineRequest
from vmtasks.testing import FakeProvider

ROOT = Path(__file__).resolve().parents[3]


class TestFake(ProviderContract):
    @pytest.fixture
    def provider(self) -> Provider:
        return FakeProvider()


class TestFakeThatCannotFork(ProviderContract):
    @pytest.fixture
    def provider(self) -> Provider:
        return FakeProvider(can_fork=False)


def test_a_command_may_be_over_before_anybody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    send = Transport._send_user_message

    def late(self: Transport, data: object) -> None:
        if self.server_mode and threading.current_thread() is self:
            time.sleep(0.2)  # a busy host
        send(self, data)

    monkeypatch.setattr(Transport, "_send_user_message", late)
    with FakeProvider().machine(MachineRequest(image="bookworm", options=BootOptions())) as guest:
        assert guest.run("exit 3", warn=True).exited == 3


def test_what_must_not_happen_here_has_something_else_happen() -> None:
    provider = FakeProvider(instead={"apt-get install *": "echo installed", "make check": "echo no >&2; exit 2"})
    with provider.machine(MachineRequest(image="bookworm", options=BootOptions())) as guest:
        assert guest.succeed(["apt-get", "install", "a b"]) == "installed\n"
        for command in (["make", "check"], "make check"):
            result = guest.run(command, cwd="/nowhere", user="builder", warn=True)
            assert (result.command, result.exited, result.stderr) == ("make check", 2, "no\n")
        assert guest.query(["apt-get", "install", "x"]) == "installed\n"
        assert guest.run(["echo", "make check"], warn=True).stdout == "make check\n"


def test_what_runs_there_has_little_of_ours_and_nothing_of_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    with FakeProvider().machine(MachineRequest(image="bookworm", options=BootOptions())) as guest:
        assert "secret" not in guest.succeed(["env"])
        assert guest.succeed(["id", "-u"], user="builder") != "0\n"
        home = Path(guest.succeed(["pwd"]).strip())
        guest.succeed("mkdir d && touch d/f && chmod 0 d")
    assert not home.exists()


def test_commands_that_are_left_running_end_with_their_machine(ended: Callable[..., bool]) -> None:
    with FakeProvider().machine(MachineRequest(image="bookworm", options=BootOptions())) as guest:
        running = int(guest.run("sleep 600 >/dev/null 2>&1 & echo $!", warn=True).stdout)
        assert not ended(running, 0)
    assert ended(running)


def test_all_machines_of_a_block_come_from_a_provider_of_ones_own() -> None:
    with use_provider(FakeProvider()), boot("bookworm", on="ssh://root@nowhere.invalid") as guest:
        assert guest.run(["true"], warn=True).ok


def test_the_example_of_the_documents_is_a_test_that_passes_and_can_fail(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "providers.md").read_text()
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "FakeProvider" in block]
    (tmp_path / "test_example.py").write_text(example)
    (tmp_path / "test_broken.py").write_text(example.replace("echo 3", "echo 4"))
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = {
        name: subprocess.run([*pytest_, tmp_path / name], cwd=ROOT, capture_output=True, text=True, check=False)
        for name in ("test_example.py", "test_broken.py")
    }
    assert done["test_example.py"].returncode == 0, done["test_example.py"].stdout
    assert done["test_broken.py"].returncode == 1
