"""Guest commands as data, and the line that goes over ssh: run here by the local shell."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vmtasks.errors import UsageError
from vmtasks.ssh.command import Command, CommandSpec, Result, display, remote_line, sh, short

ODD = "a b'c\"d$HOME`id`\\ *?\n;&|é"


def run(command: Command, *, cwd: str = "/", **env: str) -> tuple[str, int]:
    """Run the line as sshd would, and return its output (without the first line) and its status."""
    line = remote_line(CommandSpec(command=command, cwd=cwd, env=env))
    process = subprocess.Popen(["/bin/sh", "-c", line], stdout=subprocess.PIPE, encoding="utf-8")
    output, _ = process.communicate(timeout=30)
    group, _, rest = output.partition("\n")
    assert group == str(process.pid), "the first line is the leader of what is to be killed"
    return rest, process.returncode


def result(status: int = 0, stdout: str = "", stderr: str = "") -> Result:
    return Result(machine="m", command="c", exited=status, stdout=stdout, stderr=stderr, duration_s=0.0)


def test_arguments_arrive_as_they_are() -> None:
    assert run(["printf", "<%s>", ODD, "", "-x"]) == (f"<{ODD}><><-x>", 0)


def test_a_line_is_for_the_shell() -> None:
    assert run("x='a  b'; echo \"$x\" | tr a-z A-Z\nexit 7") == ("A  B\n", 7)


def test_a_path_is_an_argument_like_any_other(tmp_path: Path) -> None:
    assert run(["printf", "%s", tmp_path]) == (str(tmp_path), 0)
    assert display(["ls", tmp_path / "a b"]) == f"ls '{tmp_path}/a b'"


def test_offline_there_is_nothing_but_the_loopback() -> None:
    words = shlex.split(remote_line(CommandSpec(command=["id"], cwd="/x", user="builder", offline=True)))
    begin = words.index("unshare")
    assert words[begin : begin + 6] == ["unshare", "--net", "--", "/bin/sh", "-c", 'ip link set lo up && exec "$@"']
    assert words[begin + 7 : begin + 9] == ["setpriv", "--reuid=builder"], "who leaves the network is still root"
    assert "unshare" not in remote_line(CommandSpec(command=["id"], cwd="/x", user="builder"))


def test_a_line_may_hold_every_kind_of_quote() -> None:
    assert run(f"printf %s {shlex.quote(ODD)}") == (ODD, 0)


def test_a_directory_may_have_any_name(tmp_path: Path) -> None:
    for name in ("with space", "it's", "$HOME", "-P"):
        (tmp_path / name).mkdir()
        assert run(["pwd"], cwd=str(tmp_path / name)) == (f"{tmp_path / name}\n", 0)


def test_a_directory_that_begins_with_a_dash_is_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "-P").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(["pwd"], cwd="-P") == (f"{tmp_path}/-P\n", 0)


def test_without_its_directory_the_command_does_not_run(tmp_path: Path) -> None:
    output, status = run(["echo", "ran"], cwd=str(tmp_path / "nowhere"))
    assert output == ""
    assert status in (1, 2)


def test_without_a_directory_it_is_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    line = remote_line(CommandSpec(command=["pwd"]))
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == str(tmp_path)


def test_the_environment_arrives_as_it_is() -> None:
    assert run('printf %s "$WORD"', WORD=ODD) == (ODD, 0)


def test_the_environment_has_a_path_and_a_locale_that_can_be_changed() -> None:
    places = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/games:/usr/games"
    assert run("echo $PATH $LANG")[0] == f"{places} C.UTF-8\n"
    assert run("echo $LANG", LANG="de_DE.UTF-8")[0] == "de_DE.UTF-8\n"


@pytest.mark.parametrize(("command", "status"), [(["true"], 0), (["false"], 1), ("exit 42", 42)])
def test_the_exit_status_is_the_commands(command: Command, status: int) -> None:
    assert run(command) == ("", status)


def test_a_death_by_signal_is_128_and_its_number() -> None:
    assert run("kill -TERM $$")[1] == 128 + 15
    assert run(["sh", "-c", "kill -KILL $$"])[1] == 128 + 9


def test_a_missing_program_is_the_shells_127() -> None:
    assert run(["no-such-program-anywhere"])[1] == 127


def test_another_user_is_switched_to() -> None:
    words = shlex.split(remote_line(CommandSpec(command=["id"], env={"A": "b c"}, user="builder")))
    assert words[2:5] == ["cd", "~builder", "&&"]
    switch = words.index("setpriv")
    assert {"--reuid=builder", "--init-groups", "--reset-env"} <= set(words[switch : words.index("/usr/bin/env")])
    assert "A=b c" in words[switch:], "what was asked for comes after the environment was reset"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_user_need_not_have_a_group_of_its_own_name() -> None:
    line = remote_line(CommandSpec(command="id -un; id -gn; echo $USER", cwd="/", user="nobody"))
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[1:] == ["nobody", "nogroup", "nobody"], done.stderr


@pytest.mark.parametrize("command", ["", "  ", b"ls", 7, None, [], (), ["echo", 1], ["echo", None], [b"ls"], {"ls"}])
def test_what_is_no_command_is_refused(command: Any) -> None:
    with pytest.raises(UsageError, match="cannot run"):
        remote_line(CommandSpec(command=command))


def test_what_was_said_before_is_understood_and_warned_of() -> None:
    with pytest.warns(FutureWarning, match=r'sh\("..."\) is now'):
        assert sh("a line") == "a line"
    result = Result(machine="m", command="x", exited=3, stdout="a\nb\n", stderr="", duration_s=0.0)
    with pytest.warns(FutureWarning, match=r"result.exit_status is now result.exited"):
        assert result.exit_status == 3


def test_a_result_is_as_invokes() -> None:
    result = Result(machine="m", command="x", exited=3, stdout="a\nb\n", stderr="", duration_s=0.0)
    assert not result
    assert (result.failed, result.ok, result.return_code) == (True, False, 3)
    assert result.tail("stdout", 1) == "\n\nb"
    assert str(result) == "Command exited with status 3.\n=== stdout ===\na\nb\n\n(no stderr)"


def test_commands_are_shown_as_one_would_type_them() -> None:
    assert display(["echo", "a b"]) == "echo 'a b'"
    assert display("echo a | b") == "echo a | b"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("make check", "make check"),
        ("\n  one\n  two\n", "one..."),
        ("x" * 100, "x" * 100),
        ("x" * 101, "x" * 97 + "..."),
    ],
)
def test_a_long_command_is_cut_for_a_sentence(shown: str, expected: str) -> None:
    assert short(shown) == expected


@pytest.mark.parametrize(("status", "signal"), [(0, 0), (1, 0), (127, 0), (128, 0), (129, 1), (137, 9), (192, 64)])
def test_the_signal_is_read_from_the_status(status: int, signal: int) -> None:
    assert result(status).signal == signal
    assert result(status).ok == (status == 0)


@pytest.mark.parametrize("status", [193, 255])
def test_high_statuses_are_no_signals(status: int) -> None:
    assert result(status).signal == 0


def test_the_last_lines_are_those_of_standard_error() -> None:
    stdout, stderr = "".join(f"out {n}\n" for n in range(50)), "".join(f"err {n}\n" for n in range(50))
    assert result(stdout=stdout, stderr=stderr).last_lines(3) == ("err 47", "err 48", "err 49")


def test_short_errors_leave_room_for_output() -> None:
    assert result(stdout="one\ntwo\n\nthree\n", stderr="\nno\n").last_lines(3) == ("two", "three", "no")


def test_no_output_has_no_last_lines() -> None:
    assert result(stdout="\n  \n").last_lines() == ()
