"""A run ends with whoever called it and whoever reads it: real trees of a shell, make and a process that has a run."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from tests.process.supervised import LIMIT_S, PACKAGE
from vmtasks.errors import Interrupted
from vmtasks.process import parent
from vmtasks.process.signals import ENDING, interrupt_on_signals

PROGRAM = """
import json, os, socket, sys, threading
from vmtasks.process import parent
from vmtasks.errors import Interrupted
from vmtasks.process.signals import interrupt_on_signals

line = socket.socket(fileno=int(sys.argv[1]))

def say(**words):
    line.sendall(json.dumps(words).encode() + b"\\n")

say(pid=os.getpid())
line.recv(1)
try:
    with interrupt_on_signals():
        is_watched = "caller" in [thread.name for thread in threading.enumerate()]
        say(callers=[*parent._callers().items()], is_watched=is_watched)
        line.recv(1)
    say(end="by itself")
except Interrupted as problem:
    say(end=str(problem))
"""
MAKEFILE = """
run:
\t@$(RUN)
below:
\t@$(MAKE) run; true
"""
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL)
"""What ends a shell. By a SIGINT for it alone it lets its child decide."""


class Tree:
    """A process that calls others, the last of which has a run: it waits for a word to begin, and for one to end."""

    def __init__(self, directory: Path, script: str, *, env: dict[str, str] | None = None, **streams: Any) -> None:
        self._line, theirs = socket.socketpair()
        self._line.settimeout(LIMIT_S)
        self._words: IO[str] = self._line.makefile("r")
        (directory / "run.py").write_text(PROGRAM)
        (directory / "Makefile").write_text(MAKEFILE)
        own = {"RUN": f"{sys.executable} run.py {theirs.fileno()}", "PYTHONPATH": str(PACKAGE.parent), **(env or {})}
        with theirs:
            self.top = subprocess.Popen(
                ["/bin/sh", "-c", script],
                cwd=directory,
                env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | own,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams},
            )
        self.pid = int(self.hear()["pid"])
        self.callers: list[tuple[int, str]] = []

    def begin(self) -> None:
        """Let the run begin."""
        self.go_on()
        self.began = self.hear()
        self.callers = [(pid, name) for pid, name in self.began["callers"]]

    def go_on(self) -> None:
        self._line.send(b".")

    def hear(self, timeout_s: float = LIMIT_S) -> dict[str, Any]:
        if not select.select([self._line], [], [], timeout_s)[0]:
            raise TimeoutError
        return dict(json.loads(self._words.readline()))

    def ends(self) -> str:
        """Return how the run ended, once everybody has."""
        end = str(self.hear()["end"])
        assert self._words.read() == "", "nobody holds the line any more"
        self.top.wait(LIMIT_S)
        return end

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.top.pid, signal.SIGKILL)
        self.top.wait(LIMIT_S)
        self._words.close()
        self._line.close()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Callable[..., Tree]]:
    with ExitStack() as stack:

        def start(script: str, **more: Any) -> Tree:
            one = Tree(tmp_path, script, **more)
            stack.callback(one.close)
            return one

        yield start


def names(one: Tree) -> list[str]:
    return [name for _, name in one.callers]


def loss_of(one: Tree, place: int) -> str:
    pid, name = one.callers[place]
    return f"interrupted: {name} (pid {pid}), which called us, has ended"


# --- whoever called us -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS)
def test_the_shell_that_called_make(tree: Callable[..., Tree], number: signal.Signals) -> None:
    one = tree("make; true")
    one.begin()
    assert names(one) == ["make", "sh"]
    one.top.send_signal(number)
    assert one.ends() == loss_of(one, 1)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_shell_that_called_us(tree: Callable[..., Tree], number: signal.Signals) -> None:
    one = tree("$RUN; true")
    one.begin()
    assert names(one) == ["sh"]
    one.top.send_signal(number)
    assert one.ends() == loss_of(one, 0)


def test_make_is_killed(tree: Callable[..., Tree]) -> None:
    one = tree("make; true")
    one.begin()
    os.kill(one.callers[0][0], signal.SIGKILL)
    assert one.ends() == loss_of(one, 0)


def test_make_is_asked_to_end_and_sends_that_on(tree: Callable[..., Tree]) -> None:
    one = tree("make; true")
    one.begin()
    os.kill(one.callers[0][0], signal.SIGTERM)
    assert one.ends() == "interrupted by SIGTERM"


@pytest.mark.parametrize("place", range(4))
def test_any_of_those_between_two_makes(tree: Callable[..., Tree], place: int) -> None:
    one = tree("make below; true")
    one.begin()
    assert names(one) == ["make", "sh", "make", "sh"]
    os.kill(one.callers[place][0], signal.SIGKILL)
    assert one.ends() == loss_of(one, place)


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "process"])
def test_a_signal(tree: Callable[..., Tree], number: signal.Signals, whole_group: bool) -> None:
    one = tree("make; true")
    one.begin()
    if whole_group:
        os.killpg(one.top.pid, number)
        assert one.ends().startswith("interrupted")
    else:
        os.kill(one.pid, number)
        assert one.ends() == f"interrupted by {number.name}"


def test_what_is_above_the_caller_does_not_count(tree: Callable[..., Tree]) -> None:
    one = tree("sh -c '$RUN; true'; true")
    one.begin()
    one.top.kill()
    one.top.wait(LIMIT_S)
    with pytest.raises(TimeoutError):
        one.hear(timeout_s=0.5)
    one.go_on()
    assert one.ends() == "by itself"


def test_nohup_lets_a_run_outlive_its_caller(tree: Callable[..., Tree]) -> None:
    one = tree("nohup make; true")
    one.begin()
    assert one.began["is_watched"] is False
    os.killpg(one.top.pid, signal.SIGHUP)
    one.go_on()
    assert one.ends() == "by itself"


def test_a_make_that_ended_before_we_looked(tree: Callable[..., Tree]) -> None:
    one = tree("$RUN & true", env={"MAKELEVEL": "1"})
    one.top.wait(LIMIT_S)
    one.go_on()
    while "end" not in (report := one.hear()):
        pass
    assert report["end"] == "interrupted: what called us has ended"


@pytest.mark.parametrize(
    ("script", "level"),
    [("$RUN & true", {}), ("make & true", {}), ("setsid -f $RUN", {"MAKELEVEL": "1"}), ("setsid -f make", {})],
    ids=["background", "make in the background", "session", "make in a session"],
)
def test_who_is_sent_off_on_purpose_goes_on(tree: Callable[..., Tree], script: str, level: dict[str, str]) -> None:
    one = tree(script, env=level)
    one.top.wait(LIMIT_S)
    one.begin()
    assert one.began["is_watched"]
    one.go_on()
    assert one.ends() == "by itself"


def test_a_level_of_make_from_afar_is_no_make(tree: Callable[..., Tree]) -> None:
    one = tree("$RUN; true", env={"MAKELEVEL": "1"})
    one.begin()
    assert names(one) == ["sh"]
    one.go_on()
    assert one.ends() == "by itself"


# --- whoever reads us ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["stdout", "stderr"])
def test_a_pipe_that_nobody_reads_any_more(tree: Callable[..., Tree], output: str) -> None:
    reader, writer = os.pipe()
    one = tree("make; true", **{output: writer})
    os.close(writer)
    one.begin()
    os.close(reader)
    assert one.ends() == f"interrupted: {parent.OUTPUTS[1 if output == 'stdout' else 2]} was closed"


@pytest.mark.parametrize("output", ["stdout", "stderr"])
def test_a_terminal_that_is_closed(tree: Callable[..., Tree], output: str) -> None:
    ours, theirs = pty.openpty()
    one = tree("make; true", **{output: theirs})
    os.close(theirs)
    one.begin()
    os.close(ours)
    assert one.ends() == f"interrupted: {parent.OUTPUTS[1 if output == 'stdout' else 2]} was closed"


def test_a_socket_whose_other_end_is_closed(tree: Callable[..., Tree]) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        one = tree("make; true", stderr=theirs.fileno())
    one.begin()
    ours.close()
    assert one.ends() == "interrupted: standard error was closed"


@pytest.mark.parametrize("redirection", [">/dev/null 2>&1", ">out 2>&1", ">&- 2>&-", ">/dev/full 2>/dev/zero"])
def test_what_needs_no_reader(tree: Callable[..., Tree], redirection: str) -> None:
    one = tree(f"make {redirection} <&-; true")
    one.begin()
    assert one.began["is_watched"]
    one.go_on()
    assert one.ends() == "by itself"


# --- in one process --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads what we print: its end of that, and ours."""

    end: socket.socket
    outputs: dict[int, str]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Return the other end of what this process's only output is."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(parent, "AGAIN_S", 0.01)
    with ours, theirs:
        yield Reader(end=ours, outputs={theirs.fileno(): "the output"})


def wait_for_a_signal() -> None:
    threading.Event().wait(LIMIT_S)
    pytest.fail("there was none")


def test_nothing_is_left_of_the_watch() -> None:
    handlers = [signal.getsignal(number) for number in ENDING]
    before = set(Path("/proc/self/fd").iterdir()), set(threading.enumerate())
    with interrupt_on_signals():
        assert "caller" in {thread.name for thread in threading.enumerate()}
    assert (set(Path("/proc/self/fd").iterdir()), set(threading.enumerate())) == before
    assert [signal.getsignal(number) for number in ENDING] == handlers


def test_a_loss_ends_the_outer_block_as_well(reader: Reader) -> None:
    ends: list[Interrupted] = []

    def runs() -> None:
        with interrupt_on_signals(outputs=reader.outputs):
            try:
                with interrupt_on_signals(outputs=reader.outputs):
                    reader.end.close()
                    wait_for_a_signal()
            except Interrupted as problem:
                ends.append(problem)
            wait_for_a_signal()

    with pytest.raises(Interrupted, match="interrupted: the output was closed") as outer:
        runs()
    assert [str(end) for end in ends] in (["interrupted by SIGTERM"], [str(outer.value)])
    assert outer.value.hint == "what is to outlive its caller is called with nohup"


def test_a_loss_is_told_until_the_end_and_not_later(reader: Reader) -> None:
    told: list[str] = []
    twice = threading.Event()

    def tell(loss: str) -> None:
        told.append(loss)
        if len(told) == 2:
            twice.set()

    with parent.watch_parent(tell, outputs=reader.outputs):
        reader.end.close()
        assert twice.wait(LIMIT_S)
    assert set(told) == {"the output was closed"}
    assert "caller" not in {thread.name for thread in threading.enumerate()}


def test_a_caller_that_ends_while_we_look(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait(LIMIT_S)
    looks = iter([{gone.pid: "make", os.getppid(): "sh"}, {1: "init"}])
    monkeypatch.setattr(parent, "_callers", lambda: next(looks))
    told = threading.Event()
    with parent.watch_parent(lambda _: told.set()):
        assert told.wait(LIMIT_S)
