"""A machine that simply is there, over real ssh and real locks; the machine is this host, in a directory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Literal

import paramiko
import pytest

from tests.process.board import IS_ROOT, SILENCE_LIMIT_S, Board, board_in, home_in, know, on, place_in, switched_power
from vmtasks import BootOptions, ConnectionLost, Guest, GuestLost, HostError, TimedOut, UsageError, boot, events
from vmtasks.deadline import Deadline
from vmtasks.errors import TestFailed as ProjectFailed
from vmtasks.guest import power as guest_power
from vmtasks.providers.base import MachineRequest
from vmtasks.providers.boot import provider_of
from vmtasks.providers.static_host import console, console_command, reservation, visit
from vmtasks.ssh import openssh

LIMIT_S = 20.0


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield a user's home, with a key and nobody known."""
    with home_in(tmp_path) as home:
        yield home


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Yield where everything of the machine is that would be all over it."""
    with place_in(tmp_path) as place:
        yield place


@pytest.fixture
def board(home: Path, place: Path) -> Iterator[Board]:
    """Yield a machine that the user knows, and that knows the user."""
    with board_in(place, home) as board:
        yield board


def refusal(where: str) -> HostError:
    with pytest.raises(HostError) as refused, boot("bookworm", on=where):
        pytest.fail("it was to be refused")
    return refused.value


# ---- the way there


def test_a_machine_that_is_there_is_a_guest_and_is_told_to_be_what_it_is(board: Board, place: Path) -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append), boot("bookworm", name="m", on=on(board), log_dir=place) as guest:
        assert guest.succeed(["echo", "hello"]) == "hello\n"
        assert guest.ssh_command == ("ssh", "-p", str(board.port), "root@127.0.0.1")
        assert not guest.can_fork
    (one,) = [event for event in heard if isinstance(event, events.MachineStarted)]
    assert (one.machine, one.image, one.accelerator, one.start) == ("m", "bookworm", "none", "cold")
    assert one.start_reason == "an existing host"
    (note,) = [event.text for event in heard if isinstance(event, events.Note)]
    assert "127.0.0.1 is not clean" in note
    assert "processes that commands leave running stay" in note
    assert one.host == on(board)


def test_the_users_configuration_says_where_a_name_leads_and_with_which_key(board: Board, home: Path) -> None:
    (home / ".ssh" / "id_ed25519").rename(home / "another key")
    (home / ".ssh" / "config").write_text(
        f"Host big\n  HostName 127.0.0.1\n  Port {board.port}\n  User alice\n  IdentityFile ~/another\\ key\n"
        f"  IdentityFile {home}/none\n".replace("~/another\\ key", f'"{home}/another key"')
    )
    with boot("bookworm", on="ssh://big") as guest:
        assert guest.run(["true"], warn=True).ok


@pytest.mark.parametrize("is_hashed", [True, False])
def test_a_host_key_is_looked_for_as_ssh_does(board: Board, home: Path, *, is_hashed: bool) -> None:
    known = home / ".ssh" / "known_hosts"
    if is_hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
        assert "127.0.0.1" not in known.read_text()
    known.write_text("# a remark\nnonsense\n@cert-authority * ssh-rsa AAAA\nx ssh-ed25519 !\n" + known.read_text())
    with boot("bookworm", on=on(board)) as guest:
        assert guest.run(["true"], warn=True).ok


@pytest.mark.parametrize("remains", ["", "[127.0.0.1]:1 ssh-ed25519 AAAA\n"])
def test_a_host_that_nobody_knows_is_refused_and_not_remembered(board: Board, home: Path, remains: str) -> None:
    (home / ".ssh" / "known_hosts").write_text(remains)
    problem = refusal(on(board))
    assert f"you do not know its host key, which is {board.key.get_name()} {board.key.fingerprint}" in str(problem)
    assert f"`ssh -p {board.port} root@127.0.0.1` shows it to you" in problem.hint
    assert (home / ".ssh" / "known_hosts").read_text() == remains
    (home / ".ssh" / "known_hosts").unlink()
    assert "you do not know its host key" in str(refusal(on(board)))


def test_a_host_whose_key_has_changed_is_refused(board: Board, home: Path) -> None:
    know(home, f"[127.0.0.1]:{board.port}", paramiko.ECDSAKey.generate())
    problem = refusal(on(board))
    assert "its host key is not the one that you know" in str(problem)
    assert f"then `ssh -p {board.port} root@127.0.0.1` says how the old key is forgotten" in problem.hint


def test_whoever_is_jumped_over_must_be_known_as_well(board: Board, home: Path) -> None:
    with closing(Board(home)) as between:
        between.lets_in = board.lets_in
        (home / ".ssh" / "config").write_text(
            f"Host big\n  HostName 127.0.0.1\n  Port {board.port}\n  ProxyJump root@localhost:{between.port}\n"
        )
        assert between.key.fingerprint in str(refusal("ssh://big"))


def test_a_key_that_the_machine_does_not_accept_is_told(board: Board, home: Path) -> None:
    board.lets_in = None
    problem = refusal(on(board))
    assert str(problem) == "cannot log in as root at 127.0.0.1: it accepts none of your ssh keys"
    assert f"`ssh -p {board.port} root@127.0.0.1 true` must work without a question" in problem.hint
    (home / ".ssh" / "id_ed25519").unlink()
    assert str(refusal(on(board))).startswith("cannot log in as root at 127.0.0.1: ")


@pytest.mark.parametrize("keys", ["one key", "two keys"])
def test_a_host_that_hangs_or_hangs_up_at_the_login_is_not_said_to_refuse_a_key(
    board: Board, home: Path, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    if keys == "two keys":
        paramiko.ECDSAKey.generate().write_private_key_file(str(home / ".ssh" / "id_ecdsa"))
    board.at_a_login = board.hang_up_on_the_newest
    assert str(refusal(on(board))) == "cannot log in as root at 127.0.0.1: it hangs up"
    over = threading.Event()
    board.at_a_login = lambda: over.wait(LIMIT_S)
    monkeypatch.setattr(openssh, "CONNECT_LIMIT_S", 0.5)
    assert str(refusal(on(board))) == "cannot log in as root at 127.0.0.1: it does not answer"
    monkeypatch.setattr(openssh, "CONNECT_LIMIT_S", LIMIT_S)
    monkeypatch.setattr(openssh, "LOGIN_LIMIT_S", 0.5)
    assert str(refusal(on(board))) == "cannot reach 127.0.0.1: no answer within 0.5 s"
    over.set()


@pytest.mark.usefixtures("home")
def test_a_host_that_does_not_answer_is_told_before_long() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(openssh, "CONNECT_LIMIT_S", 0.5)
            assert str(refusal(f"ssh://127.0.0.1:{port}")).startswith("cannot log in as root at 127.0.0.1: ")
    assert str(refusal(f"ssh://127.0.0.1:{port}")) == "cannot reach 127.0.0.1: Connection refused"
    assert str(refusal("ssh://nowhere.invalid")).startswith("cannot reach nowhere.invalid: ")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("echo $$; echo 1000", "cannot work as root at 127.0.0.1: it answers '1000'"),
        ("echo Please log in as debian; exit 142", "cannot work as root at 127.0.0.1: "),
        ("echo $$; echo 0; echo apt-get", "cannot use 127.0.0.1: it has no apt-get"),
        ("echo $$; echo 0; echo flock", "cannot use 127.0.0.1: it has no flock"),
    ],
)
def test_a_machine_that_does_not_serve_is_refused(board: Board, answer: str, says: str) -> None:
    board.answers[IS_ROOT] = answer
    problem = refusal(on(board))
    assert str(problem).startswith(says)
    assert problem.hint


def test_wishes_that_count_for_nothing_are_told(board: Board) -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append), boot("bookworm", on=on(board), cpus=4, cold=True):
        pass
    warnings = [event.text for event in heard if isinstance(event, events.Note) and event.level == "warning"]
    assert warnings == ["cpus and cold count for nothing on 127.0.0.1: it is what it is"]


# ---- one at a time


def test_what_is_ours_goes_and_what_is_somebody_elses_is_left_alone(board: Board, place: Path) -> None:
    ours = place / "it's a build"
    with boot("bookworm", on=on(board)) as guest:
        guest.succeed(["mkdir", str(ours)])
        guest.succeed(["touch", str(place / "packages stay")])
    assert not ours.exists()
    assert (place / "packages stay").exists()
    assert (place / "state" / "lock").read_text() == ""
    ours.mkdir()
    problem = refusal(on(board))
    assert str(problem) == f"cannot use 127.0.0.1: there is a {ours}, which is made there and removed in the end"
    assert ours.exists()


def test_what_somebody_left_who_could_not_tidy_up_goes_first(board: Board, place: Path) -> None:
    (place / "state").mkdir()
    (place / "state" / "lock").write_text("somebody, before the power cut\n")
    (place / "repository").mkdir()
    with boot("bookworm", on=on(board)) as guest:
        guest.fail(["test", "-e", str(place / "repository")])


def test_what_dpkg_was_killed_in_is_finished_before_anything_is_installed(
    board: Board, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = place / "journal" / "0001"
    journal.parent.mkdir()
    journal.touch()
    monkeypatch.setattr(visit, "apply_image", lambda *_: journal.exists() and pytest.fail("apt does nothing yet"))
    heard: list[events.Event] = []
    with events.listening(heard.append), boot("bookworm", on=on(board)):
        assert not journal.exists()
    assert not [event for event in heard if isinstance(event, events.CommandStarted)]
    monkeypatch.setattr(visit, "DPKG_FINISH", "(echo no >&2; exit 1)")
    with boot("bookworm", on=on(board)) as guest:
        assert guest.run(["true"], warn=True).ok, "there is nothing to finish"
    journal.touch()
    problem = refusal(on(board))
    assert str(problem) == "cannot use 127.0.0.1: dpkg was interrupted there, and cannot finish"
    assert problem.details == ("no",)


@pytest.mark.parametrize(
    ("purpose", "shown"),
    [
        ("one of\nhello", "one of hello"),
        (r"one of hello\nyours whole\n\c", r"one of hello\nyours whole\n\c"),
        ("one of\x1b[2J hello", "one of[2J hello"),
    ],
)
def test_two_threads_wait_for_each_other_and_say_for_whom_again_and_again(
    board: Board, purpose: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "REMIND_S", 0.01)
    heard: list[str] = []
    waits = threading.Event()

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Note) and "waiting" in event.text:
            heard.append(event.text)
        if isinstance(event, events.Progress) and event.detail in heard:
            waits.set()

    def second() -> bool:
        with provider_of(on(board)).machine(
            MachineRequest(image="bookworm", options=BootOptions(), purpose="two of hello")
        ) as guest:
            return guest.run(["true"], warn=True).ok and first_is_over.is_set()

    first_is_over = threading.Event()
    with events.listening(hear), ThreadPoolExecutor() as pool:
        with provider_of(on(board)).machine(
            MachineRequest(image="bookworm", options=BootOptions(), purpose=purpose)
        ) as guest:
            other = pool.submit(second)
            assert waits.wait(LIMIT_S)
            assert guest.run(["true"], warn=True).ok
            first_is_over.set()
        assert other.result(LIMIT_S)
    (text,) = heard
    assert text.startswith(f"waiting for 127.0.0.1 behind {shown} of ")
    assert f"(pid {os.getpid()})" in text


def test_who_has_the_machine_and_asks_for_another_is_told_and_may_ask_again(board: Board) -> None:
    with (
        boot("bookworm", on=on(board)),
        pytest.raises(UsageError, match=r"cannot have a second machine at 127\.0\.0\.1"),
        boot("trixie", on=on(board)),
    ):
        pytest.fail("there is one only")
    with boot("bookworm", on=on(board)) as guest:
        assert guest.run(["true"], warn=True).ok


def test_a_machine_that_is_given_back_by_another_thread_is_given_back(board: Board) -> None:
    with ExitStack() as machine:
        machine.enter_context(boot("bookworm", on=on(board)))
        with ThreadPoolExecutor() as pool:
            pool.submit(machine.pop_all().close).result(LIMIT_S)
    with boot("bookworm", on=on(board)) as guest:
        assert guest.run(["true"], warn=True).ok


def test_who_has_lost_the_machine_leaves_it_to_the_thread_that_has_it(board: Board) -> None:
    def another() -> AbstractContextManager[Guest]:
        return boot("bookworm", on=on(board))

    with ThreadPoolExecutor(1) as pool, ExitStack() as second:
        with another():
            board.forget_holder()
            pool.submit(second.enter_context, another()).result(LIMIT_S)
        with pytest.raises(UsageError, match="cannot have a second machine"):
            pool.submit(another().__enter__).result(LIMIT_S)
        pool.submit(second.close).result(LIMIT_S)


def test_who_lives_keeps_the_machine_however_long_nothing_is_said(board: Board) -> None:
    with boot("bookworm", on=on(board)) as guest:
        assert guest.run(["sleep", str(3 * SILENCE_LIMIT_S)], warn=True).ok


def test_a_machine_on_which_nothing_can_be_locked_is_refused(board: Board, place: Path) -> None:
    (place / "state").touch()
    assert str(refusal(on(board))).startswith("cannot have 127.0.0.1: mkdir: ")


HOLDER = """
import sys
from vmtasks import ConnectionLost, boot
from vmtasks.providers.static_host import reservation, visit
on, reservation.LOCK, reservation.CONTROL_GROUPS, visit.DPKG_JOURNAL, silence, *visit.OURS = sys.argv[1:]
reservation.SILENCE_LIMIT_S = int(silence)
visit.apply_image = lambda *_: None
try:
    with boot("bookworm", on=on) as guest:
        guest.run(["mkdir", visit.OURS[0]])
        print("has it", flush=True)
        guest.run(["sleep", "600"], timeout_s=60)
except ConnectionLost as problem:
    print(problem, flush=True)
"""


@pytest.fixture
def holder(board: Board) -> Iterator[subprocess.Popen[str]]:
    """Yield another process that has the machine."""
    words = [
        on(board),
        reservation.LOCK,
        reservation.CONTROL_GROUPS,
        visit.DPKG_JOURNAL,
        str(SILENCE_LIMIT_S),
        *visit.OURS,
    ]
    # In a group of its own: an orphaned one in which somebody is stopped is hung up by the kernel (setpgid(2)).
    line = [sys.executable, "-c", HOLDER, *words]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        yield process
        process.kill()


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_a_holder_that_is_killed_or_stopped_loses_the_machine_which_tidies_itself_up(
    board: Board, place: Path, holder: subprocess.Popen[str], blow: signal.Signals
) -> None:
    assert (place / "it's a build").exists()
    deadline = Deadline.after(SILENCE_LIMIT_S + LIMIT_S)
    holder.send_signal(blow)
    with boot("bookworm", on=on(board)) as guest:
        assert not deadline.passed
        guest.fail(["test", "-e", str(place / "it's a build")])
        if blow == signal.SIGSTOP:
            holder.send_signal(signal.SIGCONT)
            assert holder.stdout is not None
            assert "cannot go on at 127.0.0.1: the connection broke" in holder.stdout.readline()


def test_a_machine_that_no_longer_knows_us_is_a_lost_connection(board: Board) -> None:
    with boot("bookworm", on=on(board)) as guest:
        board.forget_holder()
        with pytest.raises(ConnectionLost, match=r"cannot go on at 127\.0\.0\.1"):
            guest.run(["sleep", "600"], timeout_s=LIMIT_S, warn=True)


# ---- its power


@pytest.fixture
def switched(board: Board, place: Path) -> Iterator[Callable[[str], Path]]:
    """Yield what has the machine's power switched by lines of settings, and returns what notes each press."""
    with switched_power(board, place) as lines:
        yield lines


def presses_of(presses: Path) -> int:
    return len(presses.read_text().splitlines()) if presses.exists() else 0


def test_a_machine_is_reset_by_the_command_of_its_settings_and_stays_ours(
    board: Board, place: Path, switched: Callable[[str], Path]
) -> None:
    fails_once = f"[ -e {place}/presses ] || {{ PRESS; exit 1; }}"
    presses = switched(f"reset = '{fails_once}; touch {place}/pressed'")
    with boot("bookworm", on=on(board)) as guest:
        before = guest.boot_id()
        guest.succeed(["mkdir", str(place / "it's a build")])
        guest.hard_reset(timeout_s=LIMIT_S)
        assert guest.boot_id() != before
        assert presses_of(presses) == 1, "the first try has failed, and the second one has not"
        guest.succeed(["test", "-e", str(place / "it's a build")])
        assert guest.run(["sleep", str(2 * SILENCE_LIMIT_S)], warn=True).ok, "it is held again"
    assert not (place / "it's a build").exists()
    assert (place / "state" / "lock").read_text() == ""


def test_a_machine_that_went_to_another_run_while_it_was_away_is_lost(
    board: Board, place: Path, switched: Callable[[str], Path]
) -> None:
    switched(f"reset = 'echo another >{place}/state/lock; touch {place}/pressed'")
    with boot("bookworm", on=on(board)) as guest:
        with pytest.raises(
            ConnectionLost, match=r"cannot go on at 127\.0\.0\.1: while it was away, it went to somebody"
        ):
            guest.hard_reset(timeout_s=LIMIT_S)
        with pytest.raises(ConnectionLost, match=r"cannot go on at 127\.0\.0\.1"):
            guest.boot_id()
    assert (place / "state" / "lock").read_text() == "another\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("PRESS; echo no route to the BMC; exit 3", "ended with status 3"),
        ("PRESS; echo no route to the BMC; sleep 600", "did not end within 1 s"),
    ],
)
def test_a_power_command_that_fails_or_hangs_is_told_and_leaves_nothing(
    board: Board, switched: Callable[[str], Path], line: str, says: str
) -> None:
    presses = switched(f'reset = "{line}"\npower_timeout_s = 1')
    with boot("bookworm", on=on(board)) as guest:
        with pytest.raises(HostError) as failed:
            guest.hard_reset(timeout_s=LIMIT_S)
        assert guest.run(["sleep", str(2 * SILENCE_LIMIT_S)], warn=True).ok, "it is ours as before"
    message = f"cannot reset 127.0.0.1: the command `reset` of its settings {says}, 3 times"
    assert (str(failed.value), failed.value.details) == (message, ("no route to the BMC",))
    assert presses_of(presses) == 3
    assert not [pid for pid in presses.read_text().split() if Path("/proc", pid).exists()]


def test_a_reset_that_has_no_effect_is_made_again_and_then_told(
    board: Board, switched: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_power, "EFFECT_LIMIT_S", 0.1)
    presses = switched('reset = "PRESS"')
    with (
        boot("bookworm", name="m", on=on(board)) as guest,
        pytest.raises(TimedOut, match="m was reset, and goes on in the same boot after 5 s"),
    ):
        guest.hard_reset(timeout_s=5)
    assert presses_of(presses) == 3


def test_a_machine_without_settings_is_not_switched_and_what_to_set_is_told(
    board: Board, switched: Callable[[str], Path]
) -> None:
    switched("")
    with boot("bookworm", name="m", on=on(board)) as guest:
        for verb in (guest.hard_reset, guest.power_cycle, guest.halt, partial(guest.reboot, hard_after_s=1)):
            with pytest.raises(UsageError, match="cannot h") as refused:
                verb()
            assert '[hosts."127.0.0.1"] has the lines of shell reset = "' in refused.value.hint
        assert guest.is_up()


def test_a_machine_that_was_halted_is_switched_on_before_it_is_given_back(
    board: Board, place: Path, switched: Callable[[str], Path]
) -> None:
    board.answers["systemctl --no-block poweroff"] = f"echo $$; touch {place}/off"
    presses = switched(f"power_on = 'PRESS; touch {place}/pressed'\npower_off = ':'")
    with boot("bookworm", name="m", on=on(board)) as guest, ThreadPoolExecutor(1) as pool:
        pool.submit(hang_up_when, board, place / "off")
        guest.halt(timeout_s=LIMIT_S)
        with pytest.raises(GuestLost, match=r"m is down: halt\(\) has switched it off"):
            guest.boot_id()
        guest.power_cycle(timeout_s=LIMIT_S)
        assert (guest.is_up(), presses_of(presses)) == (True, 1)
        (place / "off").unlink()
        pool.submit(hang_up_when, board, place / "off")
        guest.halt(timeout_s=LIMIT_S)
    assert presses_of(presses) == 2


def test_a_command_that_reboots_the_machine_goes_on_there(
    board: Board, place: Path, switched: Callable[[str], Path]
) -> None:
    switched("")
    reboots = f"{{ touch {place}/pressed; sleep 600; }}"
    line = f"echo $TMT_REBOOT_COUNT >>{place}/counts; [ $VMTASKS_REBOOT_COUNT = 1 ] || {reboots}"
    with boot("bookworm", name="m", on=on(board)) as guest, ThreadPoolExecutor(1) as pool:
        pool.submit(hang_up_when, board, place / "pressed")
        assert guest.run_through_reboots(line, timeout_s=LIMIT_S).ok
    assert (place / "counts").read_text() == "0\n1\n"
    assert (place / "state" / "lock").read_text() == ""


def hang_up_when(board: Board, path: Path) -> None:
    deadline = Deadline.after(LIMIT_S)
    while not path.exists() and not deadline.passed:
        threading.Event().wait(0.05)
    board.hang_up()


# ---- its console

PANICS = (
    r"printf '[    1.000000] Kernel panic - not syncing: no fun\r\n[    1.000100] ---[ end Kernel panic\r\nlogin: '"
)


def consoles_processes(presses: Path) -> list[str]:
    return [pid for pid in presses.read_text().split() if Path("/proc", pid).exists()]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_command, "RETRY_S", 0.01)


def test_a_console_is_logged_read_for_alarms_and_typed_on_and_ends_with_the_run(
    board: Board, place: Path, switched: Callable[[str], Path]
) -> None:
    presses = switched(f'console = """PRESS; sleep 600 & echo $! >>{place}/presses; {PANICS}; exec cat"""')
    heard: list[events.Event] = []
    with (
        events.listening(heard.append),
        boot("bookworm", name="m", on=on(board), log_dir=place / "logs") as guest,
    ):
        guest.console.expect("login: ", timeout_s=LIMIT_S)
        guest.console.send("root")
        assert guest.console.expect(r"root\r", timeout_s=LIMIT_S)
        guest.succeed(["true"])
        assert guest.console_log == place / "logs" / "m-console.log"
        assert guest.console.transcript.endswith("login: root\r")
        assert len(consoles_processes(presses)) == 2
    assert consoles_processes(presses) == []
    assert (place / "logs" / "m-console.log").read_bytes().endswith(b"login: root\r")
    (alarm,) = [event for event in heard if isinstance(event, events.ConsoleAlarm)]
    assert (alarm.machine, alarm.type, alarm.message) == ("m", "panic", "Kernel panic - not syncing: no fun")
    assert guest.alarms == (alarm,)
    (started,) = [event for event in heard if isinstance(event, events.MachineStarted)]
    assert started.console == guest.console_log


@pytest.mark.parametrize(("policy", "found"), [("fail", 1), ("warn", 1), ("off", 0)])
def test_alarms_are_what_they_are_for_any_machine(
    board: Board, switched: Callable[[str], Path], policy: Literal["fail", "warn", "off"], found: int
) -> None:
    switched(f'console = """{PANICS}; exec cat"""')
    fails = pytest.raises(ProjectFailed, match=r"the kernel of m reports an error \(panic\)")
    with fails if policy == "fail" else nullcontext(), boot("bookworm", name="m", on=on(board), alarms=policy) as guest:
        guest.console.expect("login: ", timeout_s=LIMIT_S)
    assert len(guest.alarms) == found


def test_a_machine_without_a_console_says_which_line_to_set(board: Board, switched: Callable[[str], Path]) -> None:
    switched("")
    with boot("bookworm", name="m", on=on(board)) as guest:
        with pytest.raises(UsageError) as refused:
            guest.console.send("root")
        assert guest.console_log is None
        assert guest.alarms == ()
    assert str(refused.value).startswith("cannot use the console of 127.0.0.1: set the line of shell that connects")
    assert 'console = "…" under [hosts."127.0.0.1"]' in str(refused.value)


@pytest.mark.usefixtures("at_once")
def test_a_console_that_was_interrupted_goes_on(board: Board, place: Path, switched: Callable[[str], Path]) -> None:
    presses = switched(
        f"console = 'PRESS; echo here; [ -e {place}/second ] || {{ touch {place}/second; exit 1; }}; exec cat'"
    )
    heard: list[events.Event] = []
    with events.listening(heard.append), boot("bookworm", name="m", on=on(board)) as guest:
        guest.console.expect("here", timeout_s=LIMIT_S)
        guest.console.expect("here", timeout_s=LIMIT_S)
    assert presses_of(presses) == 2
    (note,) = [event.text for event in heard if isinstance(event, events.Note) and event.level == "warning"]
    assert note == (
        "the console of 127.0.0.1 is interrupted: the command `console` of its settings ended with status 1; "
        "trying again"
    )


@pytest.mark.usefixtures("at_once")
def test_a_console_that_cannot_be_had_fails_its_users_and_not_the_run(
    board: Board, switched: Callable[[str], Path]
) -> None:
    presses = switched("console = 'PRESS; echo no route to the BMC >&2; exit 3'")
    with boot("bookworm", name="m", on=on(board)) as guest:
        with pytest.raises(HostError) as failed:
            guest.console.expect("login: ", timeout_s=LIMIT_S)
        with pytest.raises(HostError, match="ended with status 3"):
            guest.console.send("root")
        assert guest.run(["true"], warn=True).ok
    assert str(failed.value) == (
        "cannot use the console of 127.0.0.1: the command `console` of its settings ended with status 3"
    )
    assert set(failed.value.details) == {"no route to the BMC"}
    assert presses_of(presses) == 3


def test_a_console_that_is_never_silent_fills_no_disk_and_keeps_nobody(
    board: Board, place: Path, switched: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "CONSOLE_LIMIT_BYTES", 4096)
    switched("console = 'exec yes'")
    with (
        boot("bookworm", name="m", on=on(board), log_dir=place) as guest,
        pytest.raises(TimedOut, match="its log is full"),
    ):
        guest.console.expect("no", timeout_s=LIMIT_S)
    assert (place / "m-console.log").stat().st_size == 4096


def test_a_console_is_read_where_the_host_is_lost_but_not_typed_on(
    board: Board, place: Path, switched: Callable[[str], Path]
) -> None:
    switched(f"console = 'echo early; until [ -e {place}/lost ]; do sleep 0.05; done; echo late; exec cat'")
    with boot("bookworm", name="m", on=on(board)) as guest:
        guest.console.expect("early", timeout_s=LIMIT_S)
        board.hang_up()
        (place / "lost").touch()
        guest.console.expect("late", timeout_s=LIMIT_S)
        with pytest.raises(ConnectionLost):
            type_until_refused(guest)


def type_until_refused(guest: Guest) -> None:
    """Type on a console; that a connection broke is noticed before long."""
    deadline = Deadline.after(LIMIT_S)
    while not deadline.passed:
        guest.console.send("root")
        threading.Event().wait(0.02)
