"""`run`: the command's own output and status, and nothing else on standard output. The machine is played."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from vmtasks.cli.run import run
from vmtasks.errors import ConnectionLost, UsageError
from vmtasks.providers import boot


class Guest:
    """Runs here what it is given, by a program that takes the line that ssh would."""

    name = "bookworm"
    ssh_command = ("sh", "-c", 'exec sh -c "$1"', "ssh")

    def __init__(self, root: Path) -> None:
        self.root = root
        self.was_sent: list[str] = []
        self.is_gone = False

    def put(self, source: Path, target: str, *, files: list[Path]) -> None:
        self.was_sent = [target, *map(str, files)]

    def query(self, _: str) -> str:
        if self.is_gone:
            raise ConnectionLost("bookworm is gone")
        return ""


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guest:
    guest = Guest(tmp_path)

    @contextmanager
    def boots(image: str, **options: Any) -> Iterator[Guest]:
        assert (image, options["purpose"][:4], options["memory_mib"]) == ("trixie", "run ", 512)
        yield guest

    monkeypatch.setattr(boot, "boot", boots)
    return guest


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def call(*words: str, put: str = "") -> int:
        monkeypatch.setattr(sys, "argv", ["vmtasks", "run", "--", *words])
        with pytest.raises(Exit) as ended:
            run(Context(), "trixie", put, memory_mib="512")
        return int(ended.value.code)

    return call


def test_output_and_status_are_the_commands(
    guest: Guest, status: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert status("echo one; echo two >&2; exit 3") == 3
    told = capfd.readouterr()
    assert told.out == "one\n"
    assert "two\n" in told.err


def test_several_words_are_a_command_that_no_shell_reads(
    guest: Guest, status: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert status("printf", "%s|", "a b", "$HOME", ";") == 0
    assert capfd.readouterr().out == "a b|$HOME|;|"


def test_a_directory_comes_along_and_is_where_the_command_runs(
    guest: Guest, status: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my tree").mkdir()
    (tmp_path / "my tree/a").touch()
    assert status("pwd", put=str(tmp_path / "my tree")) != 0  # here, there is no such directory
    assert guest.was_sent == ["/build/my tree", "a"]
    assert "/build/my tree" in capfd.readouterr().err


def test_the_status_of_ssh_itself_is_a_machine_that_is_gone(guest: Guest, status: Callable[..., int]) -> None:
    assert status("exit 255") == 255
    guest.is_gone = True
    assert status("exit 255") == 69


@pytest.mark.parametrize(
    ("argv", "put", "sentence"),
    [
        (["vmtasks", "run"], "", "there is no command to run"),
        (["vmtasks", "run", "--"], "", "there is no command to run"),
        (["vmtasks", "run", "--", "true"], "nowhere", "cannot bring nowhere along: it is no directory"),
    ],
)
def test_a_wrong_call_boots_nothing(monkeypatch: pytest.MonkeyPatch, argv: list[str], put: str, sentence: str) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(boot, "boot", lambda *_, **__: pytest.fail("it boots"))
    with pytest.raises(UsageError, match=sentence):
        run(Context(), put=put)
