"""The tasks of named machines, where they decide something themselves; keepers and guests are played."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from vmtasks.cli.program import program
from vmtasks.errors import ConnectionLost
from vmtasks.named import attached, calls, registry
from vmtasks.named.registry import GuestAddress, NamedMachine

ADDRESS = GuestAddress(host="127.0.0.1", port=2301, user="root", identity="/i/key", known_hosts="/i/known")
SSH = ("sh", "-c", 'if [ $# = 0 ]; then read line; else line=$1; fi; exec sh -c "$line"', "ssh")
"""What takes a line as ssh does, or reads one, and runs it here."""

Call = Callable[..., int]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def web() -> Iterator[NamedMachine]:
    with registry.entered("web"):
        machine = NamedMachine(
            name="web",
            image="trixie",
            on="local",
            pid=os.getpid(),
            since_s=time.time(),
            ttl_s=60,
            until_s=time.time() + 60,
            address=ADDRESS,
            ssh=SSH,
        )
        machine.write()
        yield machine


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["vmtasks", *words])
        try:
            program().run()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run


def test_a_commands_output_and_status_are_ours(
    web: NamedMachine, call: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call("exec", "web", "--", "echo one; echo two >&2; exit 3") == 3
    assert capfd.readouterr() == ("one\n", "two\n")
    assert call("exec", "web", "--", "printf", "%s|", "a b", "$HOME") == 0
    assert capfd.readouterr().out == "a b|$HOME|"


def test_a_login_is_that_of_ssh(
    web: NamedMachine, call: Call, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "typed").write_text("echo hello; exit 7\n")
    with (tmp_path / "typed").open() as typed:
        before = os.dup(0)
        os.dup2(typed.fileno(), 0)
        try:
            assert call("ssh", "web") == 7
        finally:
            os.dup2(before, 0)
            os.close(before)
    assert capfd.readouterr().out == "hello\n"


def test_the_status_of_ssh_itself_is_a_machine_that_is_gone_or_a_command_that_ended_so(
    web: NamedMachine, call: Call, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    class Attached:
        def __init__(self, machine: NamedMachine) -> None:
            assert machine == web

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def query(self, line: str) -> None:
            asked.append(line)
            if len(asked) > 1:
                raise ConnectionLost("the machine 'web' is gone: its host was switched off")

    monkeypatch.setattr(attached, "attached", Attached)
    assert call("exec", "web", "--", "exit 255") == 255
    assert call("exec", "web", "--", "exit 255") == 69
    assert "is gone: its host was switched off" in capfd.readouterr().err


def test_up_of_a_name_that_is_there_says_so_and_takes_it_if_told(
    web: NamedMachine, call: Call, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calls, "start", lambda _: pytest.fail("it starts one"))
    assert call("up", "web") == 64
    assert "there is a machine 'web' already: trixie on local, until " in capfd.readouterr().err
    assert call("up", "web", "--reuse") == 0
    assert capfd.readouterr().err.startswith("web: trixie on local, until ")
    assert call("up", "web", "--reuse", "--image", "trixie") == 0
    assert call("up", "web", "--reuse", "--image", "sid") == 64
    assert "cannot take the machine 'web' for one of sid" in capfd.readouterr().err
    assert call("up", "web", "--reuse", "--on", "big") == 64


def test_only_extend_gives_more_time_and_needs_a_machine(
    web: NamedMachine, call: Call, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given: list[tuple[str, int]] = []

    def extend(name: str, ttl_s: int) -> NamedMachine:
        given.append((name, ttl_s))
        return web

    monkeypatch.setattr(calls, "extend", extend)
    assert call("up", "web", "--ttl", "4h", "--reuse") == 0
    assert not given
    assert call("up", "web", "--ttl", "4h", "--extend") == 0
    assert given == [("web", 4 * 3600)]
    assert call("up", "db", "--ttl", "4h", "--extend") == 64
    assert "there is no machine 'db'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["up", "a/b"], "a machine cannot be called 'a/b'"),
        (["up", "web", "--ttl", "soon"], "--ttl must be a time from 1s to 30d"),
        (["up", "web", "--cpus", "many"], "--cpus must be a number"),
        (["exec", "web"], "there is no command to run"),
        (["exec", "web", "--put", "nowhere", "--", "true"], "cannot bring nowhere along: it is no directory"),
        (["down"], "say which machine to end, by its name, or --all"),
        (["down", "web", "--all"], "say which machine to end, by its name, or --all"),
        (["down", "web"], "there is no machine 'web'"),
        (["ssh-config", "web"], "there is no machine 'web'"),
        (["put", "web", "a", "b"], "there is no machine 'web'"),
        (["up"], "'up' did not receive required positional arguments: 'name'"),
    ],
)
def test_a_wrong_call_starts_nothing(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr(calls, "start", lambda _: pytest.fail("it starts one"))
    assert call(*words) == 64
    assert sentence in capfd.readouterr().err


@pytest.mark.parametrize("words", [["ssh-config"], ["ssh-config", "web"]])
def test_ssh_is_told_of_one_machine_or_of_all(
    web: NamedMachine, call: Call, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(*words) == 0
    block, *options = capfd.readouterr().out.splitlines()
    assert block == "Host web"
    assert {"  HostName 127.0.0.1", "  Port 2301", "  User root", '  IdentityFile "/i/key"'} <= set(options)


def test_there_may_be_none_to_tell_of_or_to_end(call: Call, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("ssh-config") == call("down", "--all") == 0
    assert capfd.readouterr() == ("", "")


def test_a_machine_is_not_kept_where_nothing_could_hold_its_time(
    call: Call, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calls, "start", lambda _: pytest.fail("it starts one"))
    for on in ("ec2", "ssh://board"):
        assert call("up", "web", "--on", on) == 64
        assert (
            f"cannot keep a named machine on '{on}': nothing there could hold its time to live"
            in capfd.readouterr().err
        )
