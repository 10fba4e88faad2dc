"""`inv vm.console` as a person calls it, on a terminal and on pipes; below a real supervisor is the fake QEMU."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process.supervised import LIMIT_S, Supervisor
from vmtasks.deadline import Deadline
from vmtasks.supervisor.plan import Plan

ROOT = Path(__file__).resolve().parents[3]
ECHOES = {"query-status": [["say", "\x1b[1mlogin: "], ["echo"]]}


@pytest.fixture
def machine(supervise: Callable[..., Supervisor], plan: Callable[..., Plan], tmp_path: Path) -> Supervisor:
    """Return a machine called ``guest`` that runs, and sends back what is typed."""
    one = supervise(plan(ECHOES, directory=str(tmp_path / "cache" / "machines" / "guest-1")))
    one.starts()
    one.asks("query-status")
    one.says("answer")
    return one


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config.toml").touch()
    own = {"VMTASKS_CACHE": str(tmp_path / "cache"), "VMTASKS_CONFIG": str(tmp_path / "config.toml")}
    return {**os.environ, **own, "PYTHONUNBUFFERED": "1"}


def argv(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("inv")), "vm.console", *words]


class Person:
    """Someone at a terminal, in which the command runs."""

    def __init__(self, words: list[str], environ: dict[str, str]) -> None:
        self._fd, self.terminal = pty.openpty()
        self.before = termios.tcgetattr(self.terminal)
        self.process = subprocess.Popen(
            words, cwd=ROOT, env=environ, stdin=self.terminal, stdout=self.terminal, stderr=self.terminal,
            start_new_session=True,
        )  # fmt: skip
        self.screen = b""

    def sees(self, wanted: bytes) -> bytes:
        """Wait until it is on the screen, and return what came there up to it since the last time."""
        deadline = Deadline.after(LIMIT_S)
        while wanted not in self.screen:
            assert select.select([self._fd], [], [], deadline.left_s)[0], self.screen
            self.screen += os.read(self._fd, 65536)
        seen, found, self.screen = self.screen.partition(wanted)
        return seen + found

    def types(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)
        os.close(self.terminal)


@pytest.fixture
def at_a_terminal(environ: dict[str, str]) -> Iterator[Callable[..., Person]]:
    with ExitStack() as stack:

        def start(*words: str) -> Person:
            person = Person(argv(*words), environ)
            stack.callback(person.close)
            return person

        yield start


def piped(environ: dict[str, str], text: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv(*words), cwd=ROOT, env=environ, input=text, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )


@pytest.mark.usefixtures("machine")
def test_a_person_types_until_ctrl_and_has_the_terminal_back(at_a_terminal: Callable[..., Person]) -> None:
    person = at_a_terminal("guest", "--write")
    person.sees(b"attached to the console of guest: Ctrl-] ends it\r\n")
    person.sees(b"\x1b[1mlogin: ")
    person.types(b"root\r\x03")
    person.sees(b"root\r\x03")
    person.types(b"\x1d")
    person.sees(b"left the console of guest: the machine goes on\r\n")
    assert person.process.wait(LIMIT_S) == 0
    assert termios.tcgetattr(person.terminal) == person.before


@pytest.mark.usefixtures("machine")
def test_a_signal_gives_the_terminal_back_as_well(at_a_terminal: Callable[..., Person]) -> None:
    person = at_a_terminal("guest", "--write")
    person.sees(b"login: ")
    os.kill(person.process.pid, signal.SIGTERM)
    person.sees(b"interrupted by SIGTERM")
    assert person.process.wait(LIMIT_S) == 130
    assert termios.tcgetattr(person.terminal) == person.before


def test_a_machine_that_ends_lets_go_of_whoever_is_attached(
    machine: Supervisor, at_a_terminal: Callable[..., Person]
) -> None:
    person = at_a_terminal("guest", "--write")
    person.sees(b"login: ")
    machine.close()
    person.sees(b"left the console of guest: the console has ended\r\n")
    assert person.process.wait(LIMIT_S) == 0
    assert termios.tcgetattr(person.terminal) == person.before


@pytest.mark.usefixtures("machine")
def test_lines_are_piped_into_it_and_what_they_bring_out(environ: dict[str, str]) -> None:
    done = piped(environ, "root\nsecret\n", "guest", "--write")
    assert (done.returncode, done.stdout) == (0, "login: root\nsecret\n"), done.stderr
    assert "attached to the console of guest: the end of the input ends it\n" in done.stderr


@pytest.mark.usefixtures("machine")
def test_without_a_word_of_writing_nothing_is_typed(at_a_terminal: Callable[..., Person]) -> None:
    person = at_a_terminal("guest")
    assert person.sees(b"login: ") == b"login: ", "and the terminal obeys nothing"
    person.types(b"root\r")
    assert person.sees(b"root") == b"root", "this terminal's own echo"
    person.types(b"\x03")
    person.process.send_signal(signal.SIGINT)  # the terminal is nobody's controlling one
    assert person.process.wait(LIMIT_S) == 130
    assert b"root\r\r\n" not in person.screen


def test_a_machine_that_is_not_there_or_takes_nobody_is_told(
    machine: Supervisor, environ: dict[str, str], tmp_path: Path
) -> None:
    done = piped(environ, "", "gest", "--write")
    assert done.returncode == 64
    assert done.stderr == "no machine 'gest' of yours runs on this host\ndid you mean 'guest'?\n"
    (door,) = (tmp_path / "cache/machines/guest-1").glob("console-*")
    door.unlink()
    done = piped(environ, "", str(machine.process.pid), "--write")
    assert done.returncode == 69
    assert f"cannot attach to the console of {machine.process.pid}: it has no socket for that\n" in done.stderr
    assert "leave out --write to look at it" in done.stderr


# --- existing hosts --------------------------------------------------------------------------------------------


def test_the_console_command_of_a_host_runs_on_the_persons_terminal(
    at_a_terminal: Callable[..., Person], tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text('[hosts."board"]\nconsole = "echo connected; exec cat"\n')
    person = at_a_terminal("ssh://board", "--write")
    person.sees(b"attached to the console of board: Ctrl-] ends it\r\n")
    person.sees(b"connected\n")
    person.types(b"root\r")
    person.sees(b"root\r")
    person.types(b"\x1d")
    person.sees(b"left the console of board: the machine goes on\r\n")
    assert person.process.wait(LIMIT_S) == 0
    assert termios.tcgetattr(person.terminal) == person.before


def test_a_console_command_that_fails_or_is_not_there_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    done = piped(environ, "", "ssh://board")
    assert done.returncode == 64
    assert 'console = "…" under [hosts."board"]' in done.stderr
    (tmp_path / "config.toml").write_text('[hosts."board"]\nconsole = "echo no route to the BMC >&2; exit 3"\n')
    done = piped(environ, "", "ssh://board")
    assert done.returncode == 69
    assert done.stdout == "no route to the BMC\n"
    assert "cannot go on with the console of board: the command `console` of its settings ended with status 3" in (
        done.stderr
    )
