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
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from pathlib import Path

import paramiko
import pytest

from vmtasks import BootOptions, ConnectionLost, Guest, HostError, UsageError, boot, events
from vmtasks.deadline import Deadline
from vmtasks.providers.base import MachineRequest
from vmtasks.providers.boot import provider_of
from vmtasks.providers.static_host import provider, reservation
from vmtasks.ssh import openssh
from vmtasks.testing.fake_sshd import FakeSshd

LIMIT_S = 20.0
TEST_LIMIT_S = 60.0
SILENCE_LIMIT_S = 1
IS_ROOT = "id -u; for name"
"""How the question begins that a machine has to answer as root."""


class Board(FakeSshd):
    """A host with a port, which lets one key in."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.answers = {IS_ROOT: "echo $$; echo 0"}
        """Parts of commands, and what is run instead."""
        self.lets_in: paramiko.PKey | None = None
        self.at_a_login: Callable[[], object] = lambda: None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:  # closed
                return
            self.serve(line)

    def close(self) -> None:
        with suppress(OSError):  # it is closed already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        super().close()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.at_a_login()
        return super().check_auth_publickey(username, key) if (username, key) == ("root", self.lets_in) else 2

    def hang_up(self) -> None:
        self._transports[-1].close()

    def forget_holder(self) -> None:
        (holding,) = [child for child in self._children if reservation.LOCK in str(child.args)]
        os.killpg(holding.pid, signal.SIGKILL)

    def execute(self, channel: paramiko.Channel, command: str) -> None:
        super().execute(channel, next((line for part, line in self.answers.items() if part in command), command))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's home, with a key and nobody known."""
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(mode=0o700, parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh / "id_ed25519"], check=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path / "home"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where everything of the machine is that would be all over it."""
    monkeypatch.setattr(reservation, "LOCK", str(tmp_path / "state" / "lock"))
    monkeypatch.setattr(reservation, "CONTROL_GROUPS", str(tmp_path / "no groups"))
    monkeypatch.setattr(reservation, "SILENCE_LIMIT_S", SILENCE_LIMIT_S)
    monkeypatch.setattr(reservation, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(provider, "OURS", (str(tmp_path / "it's a build"), str(tmp_path / "repository")))
    monkeypatch.setattr(provider, "DPKG_JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setattr(provider, "DPKG_FINISH", f"rm {tmp_path}/journal/*")
    monkeypatch.setattr(provider, "apply_image", lambda *_: None)
    return tmp_path


@pytest.fixture
def board(home: Path, place: Path) -> Iterator[Board]:
    """Yield a machine that the user knows, and that knows the user."""
    with closing(Board(place)) as board:
        board.lets_in = paramiko.Ed25519Key.from_private_key_file(str(home / ".ssh" / "id_ed25519"))
        know(home, f"[127.0.0.1]:{board.port}", board.key)
        patience = threading.Timer(TEST_LIMIT_S, board.close)  # who waits for ever is to fail
        patience.start()
        yield board
        patience.cancel()


def know(home: Path, name: str, key: paramiko.PKey) -> None:
    (home / ".ssh" / "known_hosts").write_text(f"{name} {key.get_name()} {key.get_base64()}\n")


def on(board: Board) -> str:
    return f"ssh://root@127.0.0.1:{board.port}"


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
    board.at_a_login = board.hang_up
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
    monkeypatch.setattr(provider, "apply_image", lambda *_: journal.exists() and pytest.fail("apt does nothing yet"))
    heard: list[events.Event] = []
    with events.listening(heard.append), boot("bookworm", on=on(board)):
        assert not journal.exists()
    assert not [event for event in heard if isinstance(event, events.CommandStarted)]
    monkeypatch.setattr(provider, "DPKG_FINISH", "(echo no >&2; exit 1)")
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
def test_two_threads_wait_for_each_other_and_say_for_whom(board: Board, purpose: str, shown: str) -> None:
    heard: list[str] = []
    waits = threading.Event()

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Note) and "waiting" in event.text:
            heard.append(event.text)
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
from vmtasks.providers.static_host import provider, reservation
on, reservation.LOCK, reservation.CONTROL_GROUPS, provider.DPKG_JOURNAL, silence, *provider.OURS = sys.argv[1:]
reservation.SILENCE_LIMIT_S = int(silence)
provider.apply_image = lambda *_: None
try:
    with boot("bookworm", on=on) as guest:
        guest.run(["mkdir", provider.OURS[0]])
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
        provider.DPKG_JOURNAL,
        str(SILENCE_LIMIT_S),
        *provider.OURS,
    ]
    with subprocess.Popen([sys.executable, "-c", HOLDER, *words], stdout=subprocess.PIPE, text=True) as process:
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
