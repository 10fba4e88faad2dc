"""A machine that is kept for a look."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmtasks import CommandFailed, Interrupted, events
from vmtasks.process.signals import interrupt_on_signals
from vmtasks.run import debug
from vmtasks.ssh.command import CommandSpec


class Stub:
    """A guest that somebody interrupts as soon as it is watched."""

    name = "m"
    ssh_command = ("ssh", "m")

    def watch(self, wait_s: float) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def test_the_signal_that_ends_the_look_is_not_the_last_one_that_is_heard() -> None:
    guest: Any = Stub()
    notes: list[events.Event] = []
    with interrupt_on_signals(), events.listening(notes.append):
        debug.keep_alive(guest, 1800)
        debug.keep_alive(guest, None)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
    texts = [note.text for note in notes if isinstance(note, events.Note)]
    assert texts == [
        "kept for 1800 s, or until Ctrl-C; get in with: ssh m",
        "not kept any longer",
        "kept until Ctrl-C; get in with: ssh m",
        "not kept any longer",
    ]


SSH = """#!/bin/sh
# What ssh gets: -t, a host, and perhaps a line.
[ "$1 $2" = "-t m" ] || exit 9
[ "$3" ] || exit 7
exec sh -c "$3"
"""


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a guest that is this host, beside a terminal."""
    stream = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(debug, "sys", SimpleNamespace(stdin=stream, stderr=stream))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = tmp_path / "ssh"
    program.write_text(SSH)
    program.chmod(0o755)

    def query(words: list[str], *, stdin: bytes) -> str:
        return subprocess.run(words, input=stdin, check=True, capture_output=True).stdout.decode()

    return SimpleNamespace(name="m", ssh_command=(str(program), "m"), query=query)


def test_a_shell_opens_where_the_command_failed(terminal: Any, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    seen = tmp_path / "seen"
    look = f"pwd >{seen}; history 1 >>{seen}; exit 5"
    failed = CommandSpec(command="make check", cwd=str(tmp_path / "tree"), env={"PROMPT_COMMAND": look})
    assert debug.open_shell(terminal, at=failed) == 5
    where, history = seen.read_text().splitlines()
    assert where == failed.cwd
    assert history.endswith("make check")


def test_a_shell_that_cannot_be_prepared_opens_all_the_same(terminal: Any) -> None:
    def full(*_: object, **__: object) -> str:
        raise CommandFailed("no space left on device")

    terminal.query = full
    notes: list[events.Event] = []
    with events.listening(notes.append):
        assert debug.open_shell(terminal, at=CommandSpec(command="make")) == 7
    texts = [note.text for note in notes if isinstance(note, events.Note)]
    assert texts[-1] == "the shell opens elsewhere than the command failed: no space left on device"


def test_without_a_command_that_failed_it_is_a_login_as_ever(terminal: Any) -> None:
    assert debug.open_shell(terminal) == 7


def test_the_command_that_an_error_is_about_is_the_one_that_failed() -> None:
    told: list[object] = []
    guest: Any = SimpleNamespace(blame=told.append)
    debug.blame(guest, CommandFailed("no", result="its result"))
    debug.blame(guest, CommandFailed("no"))
    debug.blame(guest, Interrupted("no"))
    assert told == ["its result"]
