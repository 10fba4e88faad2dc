"""A shell, or another command, where a command failed: its directory, its environment, and what it was. Run here."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmtasks import events
from vmtasks.errors import CommandFailed, CommandTimedOut, GuestLost, HostError, TestFailed
from vmtasks.guest import failure
from vmtasks.guest.commands import GuestCommands
from vmtasks.guest.failure import AT_HOME, failure_as_data, failure_from, line_at, shell_at
from vmtasks.ssh.command import CommandSpec, Result


class Guest:
    """Runs small commands here."""

    name = "m"

    def query(self, words: list[str], *, stdin: bytes) -> str:
        return subprocess.run(words, input=stdin, check=True, capture_output=True).stdout.decode()


@pytest.fixture
def failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandSpec:
    """Return a command that failed in a directory with a blank."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "a tree").mkdir()
    return CommandSpec(command="make check\nmake more", cwd=str(tmp_path / "a tree"), env={"WORD": "two words"})


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Do with a line what sshd does, and see that nothing is left of it."""

    def run(line: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(["sh", "-c", line], input=stdin, text=True, capture_output=True, check=False)
        assert not list((tmp_path / "tmp").iterdir())
        return done

    return run


Run = Callable[..., subprocess.CompletedProcess[str]]
GUEST: Any = Guest()


def test_a_line_runs_where_the_command_did_and_its_status_is_the_lines(failed: CommandSpec, run: Run) -> None:
    done = run(line_at(GUEST, failed, 'pwd; echo "$WORD $LANG"; echo no >&2; exit 3'))
    assert (done.returncode, done.stdout, done.stderr) == (3, f"{failed.cwd}\ntwo words C.UTF-8\n", "no\n")
    assert run(line_at(GUEST, failed, "kill -9 $$")).returncode == 128 + 9
    assert run(line_at(GUEST, failed, "cat"), "from here").stdout == "from here"


def test_a_line_does_not_run_elsewhere(failed: CommandSpec, run: Run) -> None:
    Path(failed.cwd).rmdir()
    done = run(line_at(GUEST, failed, "echo ran"))
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert failed.cwd in done.stderr


def test_a_shell_is_where_the_command_failed_and_has_it_in_its_history(failed: CommandSpec, run: Run) -> None:
    done = run(shell_at(GUEST, failed), 'pwd\necho "$WORD"\nhistory\nexit 4\n')
    assert done.returncode == 4
    assert done.stdout.startswith(f"{failed.cwd}\ntwo words\n")
    first, rest, *_ = done.stdout.splitlines()[2:]
    assert re.fullmatch(r" +1  [0-9: -]+ make check", first)
    assert rest == "make more", "it is one command, whatever lines it has"


def test_a_shell_opens_at_home_if_the_directory_is_gone(failed: CommandSpec, run: Run, tmp_path: Path) -> None:
    Path(failed.cwd).rmdir()
    done = run(shell_at(GUEST, failed), "pwd\n")
    assert done.stdout == f"{tmp_path}\n"
    assert failed.cwd in done.stderr


def test_a_shell_opens_at_home_if_no_command_is_known(failed: CommandSpec, run: Run, tmp_path: Path) -> None:
    assert run(shell_at(GUEST, AT_HOME), "pwd; history | wc -l\n").stdout == f"{tmp_path}\n1\n"


def test_variables_of_the_host_come_again_and_no_command_line_shows_them(
    failed: CommandSpec, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = "it's\n$HOME `x` \\ \udcff "
    monkeypatch.setenv("TOKEN", value)
    monkeypatch.delenv("OTHER", raising=False)
    notes: list[events.Event] = []
    with events.listening(notes.append):
        line = line_at(GUEST, replace(failed, env_from=("TOKEN", "OTHER")), 'printf %s "$TOKEN" | od -An -tx1 -v')
    assert "HOME" not in line
    assert bytes.fromhex(run(line).stdout) == value.encode(errors="surrogateescape")
    assert [note.text for note in notes if isinstance(note, events.Note)] == [
        "OTHER of env_from is not set here, and so not there either"
    ]


def test_another_user_and_no_network_are_the_commands_as_well(
    failed: CommandSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure, "_laid_out", lambda *_: "/tmp/x")
    line = line_at(GUEST, replace(failed, user="builder", cwd="", offline=True), "make")
    assert line.startswith("cd ~builder && unshare --net -- ")
    assert "setpriv --reuid=builder " in line


def test_a_failure_is_read_back_as_it_was_written_down(failed: CommandSpec) -> None:
    spec = replace(failed, user="builder", env_from=("TOKEN",), offline=True)
    assert failure_from(json.loads(json.dumps(failure_as_data(spec)))) == spec
    words = replace(failed, command=["make", "a b"])
    assert failure_from(failure_as_data(words)).command == "make 'a b'"
    assert failure_from(failure_as_data(None)) == AT_HOME


@pytest.mark.parametrize("data", [None, [], {"command": "x"}, {"cwd": 5}])
def test_one_that_makes_no_sense_is_refused(data: object) -> None:
    with pytest.raises(HostError, match="damaged"):
        failure_from(data)


PROBLEMS: dict[object, Exception] = {"raises": TestFailed("a test has said so"), "reboot": GuestLost("it is gone")}


class Runner:
    """Ends commands at once: `no` with status 1, `late` not within its limit."""

    def run(self, spec: CommandSpec, **_: object) -> Result:
        status = int(spec.command != "yes")
        result = Result(
            machine="m", command="", exited=status, stdout="", stderr="", duration_s=0, spec=replace(spec, stdin=b"")
        )
        if spec.command == "late":
            raise CommandTimedOut("late", result=result)
        if spec.command in PROBLEMS:
            raise PROBLEMS[spec.command]
        return result


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> GuestCommands:
    session: Any = SimpleNamespace(machine="m", remembered=lambda spec: replace(spec, stdin=b""))
    guest = GuestCommands(session, log_dir=None, heartbeat_s=1.0)
    monkeypatch.setattr(guest, "_runner", Runner())
    return guest


def test_the_last_command_that_failed_is_known(commands: GuestCommands) -> None:
    commands.run("yes")
    assert commands.failed_command is None
    with pytest.raises(CommandFailed):
        commands.run("no", cwd="/a", stdin=b"much", env={"A": "b"})
    commands.run("yes")
    assert commands.failed_command == CommandSpec(command="no", cwd="/a", env={"A": "b"})
    with pytest.raises(CommandTimedOut):
        commands.run("late", warn=True)
    assert commands.failed_command == CommandSpec(command="late")
    with pytest.raises(TestFailed):
        commands.run("raises")
    with pytest.raises(GuestLost):
        commands.run("reboot")
    assert commands.failed_command == CommandSpec(command="raises"), "a guest that is gone has no place to look at"
    with pytest.raises(CommandFailed):
        commands.fail("yes")
    assert commands.failed_command == CommandSpec(command="yes"), "it was to fail"


def test_a_command_that_may_fail_is_not_the_one_that_failed(commands: GuestCommands) -> None:
    commands.fail("no")
    result = commands.run("no", warn=True, cwd="/a")
    commands.run("no", hide=True, warn=True)
    with pytest.raises(CommandTimedOut):
        commands.run("late", hide=True)  # as what waits does, which goes on
    assert commands.failed_command is None
    commands.blame(replace(result, machine="another"))
    commands.blame(None)
    assert commands.failed_command is None
    commands.blame(result)
    assert commands.failed_command == CommandSpec(command="no", cwd="/a"), "its caller finds that it has"


def test_of_two_commands_at_once_the_one_that_failed_is_known(commands: GuestCommands) -> None:
    class Nested(Runner):
        def run(self, spec: CommandSpec, **more: object) -> Result:
            if spec.command == "yes":  # while it runs, another one begins and fails
                with pytest.raises(CommandFailed):
                    commands.run("no")
            return super().run(spec, **more)

    runner: Any = Nested()
    commands._runner = runner
    commands.run("yes")
    assert commands.failed_command == CommandSpec(command="no")
