"""Commands on the host, with real processes: as a shell would run them, and what is left of them, which is nothing."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.supervised import LIMIT_S, PACKAGE, Lines
from vmtasks.deadline import Deadline
from vmtasks.errors import HostError, TimedOut
from vmtasks.process import host_commands as hostcommand
from vmtasks.process.host_commands import HostCommands, host_commands
from vmtasks.process.subreaper import parents

PROMPT_S = 5.0
BACKGROUND = "sleep 1000 & echo $! > background"
DAEMON = "mkfifo born; (setsid sh -c 'echo $$ > born; exec sleep 1000' &); cat born | tee daemon"
PLAIN = "echo $$; exec sleep 1000"
STUBBORN = "trap '' TERM; echo $$ | tee stubborn; while :; do sleep 1; done"
TRAPPING = "trap 'sleep 0.2; echo ended > trapped; exit' TERM; echo $$ > pid"
CALLER = """
import sys
from vmtasks.process.host_commands import host_commands

with host_commands() as host:
    for line in sys.argv[1:]:
        host.run(["/bin/sh", "-c", line])
"""
AT_A_TERMINAL = """
import signal
from vmtasks.process.host_commands import host_commands

signal.signal(signal.SIGINT, lambda *_: None)
with host_commands() as host:
    host.run(["/bin/sh", "-c", "read -r word; echo heard $word"])
    status = host.run(["/bin/sh", "-c", "echo asleep; exec sleep 1000"])
    host.run(["/bin/sh", "-c", f"echo status {status}"])
"""

Ended = Callable[..., bool]


class GivenUpError(Exception):
    """What a watch raises here."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def host(here: Path) -> Iterator[HostCommands]:
    with host_commands() as host:
        yield host


def sh(host: HostCommands, line: str, **more: object) -> int:
    return host.run(["/bin/sh", "-c", line], **more)  # type: ignore[arg-type]


def content(name: str) -> str:
    return Path(name).read_text().strip()


def once(name: str, act: Callable[[], object]) -> Callable[[float], None]:
    """Return a watch that acts, once, when a command has written *name*."""
    todo = [act]

    def watch(wait_s: float) -> None:
        if todo and Path(name).is_file() and content(name):
            todo.pop()()

    return watch


def give_up() -> None:
    raise GivenUpError


def is_there(pid: str) -> bool:
    return Path("/proc", pid).exists()


def subreaper(host: HostCommands) -> dict[str, int]:
    assert sh(host, "echo $PPID > worker; ps -o ppid= $PPID > guard") == 0
    return {name: int(content(name)) for name in ("worker", "guard")}


# --- running ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status"), [("true", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_status_is_as_a_shell_has_it(host: HostCommands, line: str, status: int) -> None:
    assert sh(host, line) == status


def test_command_has_the_callers_directory_and_environment_and_what_is_added(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "ours")
    with host_commands() as host:
        assert sh(host, 'echo "$(pwd -P) $OURS $ADDED" > all', env={"ADDED": "größer"}) == 0
        assert sh(host, 'test -z "$ADDED"') == 0
    assert content("all") == f"{here.resolve()} ours größer"


def test_command_is_in_the_callers_group_and_session_with_default_signals(host: HostCommands) -> None:
    assert sh(host, "ps -o pgid=,sid= $$ > where; grep SigIgn /proc/self/status > ignored") == 0
    assert [int(number) for number in content("where").split()] == [os.getpgrp(), os.getsid(0)]
    ignored = int(content("ignored").split()[1], 16)
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)
    assert not [number for number in numbers if ignored & 1 << number - 1]


def test_command_has_no_descriptors_but_the_standard_streams(host: HostCommands) -> None:
    assert host.run([sys.executable, "-c", "import os; open('fds', 'w').write(' '.join(os.listdir('/dev/fd')))"]) == 0
    assert set(content("fds").split()) <= {"0", "1", "2", "3", "4"}, "its file and the directory are two"


@pytest.mark.parametrize(
    ("argv", "cause"),
    [
        (["/nowhere/scp"], "No such file or directory"),
        (["/etc/passwd"], "Permission denied"),
        (["echo", "\0"], "embedded null byte"),
    ],
)
def test_command_that_cannot_be_started_is_told_of_and_the_next_one_runs(
    host: HostCommands, argv: list[str], cause: str
) -> None:
    with pytest.raises(HostError, match=rf"cannot run `.*{argv[0]}.*` on the host: {cause}"):
        host.run(argv)
    assert sh(host, "exit 5") == 5


def test_command_beyond_all_measure_is_refused_in_a_sentence(host: HostCommands) -> None:
    with pytest.raises(HostError, match="cannot run commands on the host: Message too long"):
        sh(host, "#" * 1_000_000)
    assert sh(host, "exit 5") == 5


def test_signals_do_not_hurt_the_subreaper(host: HostCommands) -> None:
    for pid in subreaper(host).values():
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
            os.kill(pid, number)
    assert sh(host, "exit 5") == 5


def test_terminal_serves_the_command_and_its_interrupt_leaves_the_subreaper_alone() -> None:
    ours, theirs = os.openpty()
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        deadline = Deadline.after(LIMIT_S)
        while text not in seen:
            assert select.select([ours], [], [], deadline.left_s)[0], seen
            seen += os.read(ours, 4096)

    with subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-c", AT_A_TERMINAL],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    ) as process:
        try:
            os.write(ours, b"hello\n")
            until(b"heard hello")
            until(b"asleep")
            os.write(ours, b"\x03")
            until(b"status 130")
            assert process.wait(LIMIT_S) == 0
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)


# --- ending ----------------------------------------------------------------------------------------------------


def test_background_process_lives_on_for_later_commands_and_ends_with_the_block(ended: Ended) -> None:
    with host_commands() as host:
        assert sh(host, BACKGROUND) == 0
        assert sh(host, "kill -0 $(cat background)") == 0
        background = int(content("background"))
        assert not ended(background, timeout_s=0)
    assert ended(background, timeout_s=0)


def test_background_process_that_ends_is_buried_at_once(host: HostCommands) -> None:
    assert sh(host, BACKGROUND) == 0
    line = "kill $(cat background); while kill -0 $(cat background) 2> /dev/null; do sleep 0.1; done"
    assert sh(host, line, timeout_s=LIMIT_S) == 0


def test_daemon_that_has_detached_itself_ends_with_the_block(ended: Ended) -> None:
    with host_commands() as host:
        assert sh(host, DAEMON) == 0
        daemon = int(content("daemon"))
        assert os.getsid(daemon) == daemon
        assert not ended(daemon, timeout_s=0)
    assert ended(daemon, timeout_s=0)


def test_what_a_watch_raises_ends_the_command_and_what_it_has_started_but_nothing_else(host: HostCommands) -> None:
    sh(host, BACKGROUND)
    with pytest.raises(GivenUpError):
        sh(host, f"{DAEMON}; {TRAPPING}; sleep 1000 & wait", watch=once("pid", give_up))
    assert content("trapped") == "ended", "it had time to clean up"
    assert not is_there(content("pid"))
    assert not is_there(content("daemon"))
    assert sh(host, "kill -0 $(cat background)") == 0


def test_command_that_does_not_hear_sigterm_is_killed(host: HostCommands) -> None:
    with pytest.raises(GivenUpError):
        sh(host, STUBBORN, watch=once("stubborn", give_up))
    assert not is_there(content("stubborn"))


def test_command_that_a_terminal_has_stopped_ends_gracefully(host: HostCommands) -> None:
    with pytest.raises(GivenUpError):
        sh(host, f"{TRAPPING}; kill -STOP $$; exit 1", watch=once("pid", give_up))
    assert content("trapped") == "ended"


def test_time_limit_ends_the_command(host: HostCommands) -> None:
    worker = subreaper(host)["worker"]
    with pytest.raises(TimedOut, match=r"`/bin/sh -c 'sleep 1000; true'` on the host did not end within 0\.2 s"):
        sh(host, "sleep 1000; true", timeout_s=0.2)
    assert worker not in parents().values()
    assert sh(host, "exit 5") == 5


@pytest.mark.parametrize("victim", ["worker", "guard"])
def test_half_of_the_subreaper_is_killed_and_the_other_half_ends_everything(victim: str, ended: Ended) -> None:
    with host_commands() as host:
        victim_pid = subreaper(host)[victim]
        sh(host, DAEMON)
        assert not ended(int(content("daemon")), timeout_s=0)
        strike = once("stubborn", lambda: os.kill(victim_pid, signal.SIGKILL))
        with pytest.raises(HostError, match="cannot run commands on the host: their subreaper has ended"):
            sh(host, STUBBORN, watch=strike)
        assert not is_there(content("stubborn"))
        assert ended(int(content("daemon")), timeout_s=0)
        with pytest.raises(HostError, match="their subreaper has ended"):
            sh(host, "true")


def test_all_of_the_subreaper_is_killed_and_the_command_with_it(ended: Ended) -> None:
    with host_commands() as host:
        pids = subreaper(host).values()

        def strike() -> None:
            assert not ended(int(content("pid")), timeout_s=0)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

        with pytest.raises(HostError, match="their subreaper has ended"):
            sh(host, "echo $$ > pid; exec sleep 1000", watch=once("pid", strike))
    assert ended(int(content("pid")), timeout_s=PROMPT_S)


def test_subreaper_that_does_not_go_is_killed_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostcommand, "_STOP_LIMIT_S", 0.2)
    with (
        pytest.raises(HostError, match=r"cannot end .*: their subreaper \(pid \d+\) did not go in 0\.2 s"),
        host_commands() as host,
    ):
        os.kill(subreaper(host)["guard"], signal.SIGSTOP)


def test_nothing_of_ours_is_left_behind() -> None:
    files, children = set(Path("/proc/self/fd").iterdir()), own_children()
    with host_commands() as host:
        sh(host, "true")
    assert set(Path("/proc/self/fd").iterdir()) == files
    assert own_children() == children


def own_children() -> set[int]:
    return {pid for pid, parent in parents().items() if parent == os.getpid()}


@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "process"])
@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGKILL, STUBBORN),
        (signal.SIGKILL, PLAIN),
        (signal.SIGTERM, PLAIN),
        (signal.SIGHUP, PLAIN),
        (signal.SIGINT, PLAIN),
    ],
    ids=["KILL-stubborn", "KILL", "TERM", "HUP", "INT"],
)
def test_caller_that_is_killed_leaves_nothing_and_nobody_on_its_pipe(
    number: signal.Signals, line: str, whole_group: bool, ended: Ended
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, DAEMON, line],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        start_new_session=True,
    ) as caller:
        try:
            lines = Lines(caller)
            daemon, command = lines.next(), lines.next()
            worker = parents()[daemon]
            pids = [daemon, command, worker, parents()[worker]]
            assert not any(ended(pid, timeout_s=0) for pid in pids)
            (os.killpg if whole_group else os.kill)(caller.pid, number)
            deadline = Deadline.after(PROMPT_S)
            assert all(ended(pid, timeout_s=deadline.left_s) for pid in pids)
            assert caller.stdout
            assert select.select([caller.stdout], [], [], deadline.left_s)[0], "somebody keeps the caller's pipe open"
            assert caller.stdout.read() == b""
        finally:
            caller.kill()
