"""The guest's verbs over real ssh, to a server that runs the commands here: everything but the machine."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest

from vmtasks import (
    CommandFailed,
    ConnectionLost,
    Guest,
    HostError,
    TestFailed,
    TimedOut,
    UsageError,
    events,
)
from vmtasks.guest import archive, streams
from vmtasks.guest.allowance import Allowance
from vmtasks.guest.transfer_disk import TransferDisk
from vmtasks.spec import TRANSFER_DISK_BYTES
from vmtasks.ssh import keepalive, session
from vmtasks.ssh.keepalive import Keepalive
from vmtasks.ssh.session import Session
from vmtasks.testing.fake_sshd import FakeSshd

LIMIT_S = 20.0


class Server(FakeSshd):
    """One that can be hostile, or hang."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.answers: dict[str, bytes] = {}
        """Part of a command, and what to print instead of running it: what a hostile guest would."""
        self.ran: list[str] = []
        self.is_deaf = False
        """Whether it never says that it will run a command."""
        self.hangs = threading.Event()
        """Once it is set, it answers nothing any more, from the next sign of life that it is asked for."""
        self.asked = 0
        """How often it was asked for one."""
        self.started = threading.Event()
        self.over = threading.Event()

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.ran.append(command.decode())
        self.started.set()
        if self.is_deaf:
            self.over.wait(LIMIT_S)
            return False
        return super().check_channel_exec_request(channel, command)

    def check_global_request(self, kind: str, msg: paramiko.Message) -> bool:
        self.asked += 1
        if self.hangs.is_set():
            self.over.wait(LIMIT_S)
        return False

    def execute(self, channel: paramiko.Channel, command: str) -> None:
        for part, answer in self.answers.items():
            if part in command:
                channel.sendall(answer)
                channel.send_exit_status(0)
                channel.shutdown_write()
                channel.recv(1)  # the client closes; before that it wants to hear that the command was accepted
                return
        super().execute(channel, command)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path)) as server:
        yield server


@pytest.fixture
def news() -> list[Exception]:
    """Return what the machine's watcher is to raise, once there is something in it."""
    return []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the machine asked for signs of life often, and not waited for long."""
    monkeypatch.setattr(session, "KEEPALIVE_S", 0.05)
    monkeypatch.setattr(session, "SILENCE_LIMIT_S", 0.8)
    monkeypatch.setattr(session, "END_LIMIT_S", 0.4)


@pytest.fixture
def guest(server: Server, news: list[Exception], tmp_path: Path) -> Iterator[Guest]:
    def watch(wait_s: float) -> None:
        if news and server.started.is_set():
            raise news[0]
        threading.Event().wait(wait_s)

    ours = Session("m", server.connect(), lambda _: server.connect(), watch)
    transfer_disk = tmp_path / "transfer"
    transfer_disk.touch()
    os.truncate(transfer_disk, TRANSFER_DISK_BYTES)
    try:
        yield Guest(ours, transfer_disk=TransferDisk(transfer_disk, lambda: 0), log_dir=tmp_path)
    finally:
        server.over.set()
        ours.close()


def tar_of(*names: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
    return stream.getvalue()


# ---- commands


def test_input_that_nobody_reads_keeps_no_command_from_its_limit(guest: Guest) -> None:
    with pytest.raises(TimedOut, match="did not end within 1 s"):
        guest.run(["sleep", str(LIMIT_S)], stdin=bytes(16 << 20), timeout_s=1, warn=True)


def test_a_command_need_not_read_its_input(guest: Guest) -> None:
    assert guest.run("exit 3", stdin=bytes(8 << 20), timeout_s=LIMIT_S, warn=True).exited == 3


def test_input_and_output_flow_at_once(guest: Guest) -> None:
    text = b"0123456789abcde\n" * (1 << 16)
    assert guest.succeed(["cat"], stdin=text, timeout_s=LIMIT_S) == text.decode()


def test_a_limit_of_the_guests_own_holds_for_each_command_that_has_none(guest: Guest) -> None:
    guest.timeout_s = 0.5
    with pytest.raises(TimedOut, match=r"within 0\.5 s"):
        guest.run(["sleep", str(LIMIT_S)], warn=True)
    assert guest.run(["sleep", "0.6"], timeout_s=LIMIT_S, warn=True).ok


def test_a_question_has_bounded_answers_and_says_why_it_failed(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "QUERY_BYTES", 1 << 20)
    assert guest.query(["cat"], stdin=b"asked") == "asked"
    with pytest.raises(CommandFailed, match="printed more than 1 MiB"):
        guest.query("head -c 2000000 /dev/zero")
    with pytest.raises(CommandFailed, match=r"`echo no >&2; exit 1` on m failed: no") as failure:
        guest.query("echo no >&2; exit 1")
    assert failure.value.details == ("no",)


def test_a_question_that_is_not_answered_is_a_lost_connection(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "QUERY_LIMIT_S", 0.5)
    with pytest.raises(ConnectionLost, match=r"did not answer `sleep 20` within 0\.5 s"):
        guest.query(["sleep", "20"])


def test_tries_are_nobodys_business(guest: Guest, tmp_path: Path) -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append):
        guest.wait_until_succeeds(f"echo x >>{tmp_path}/tries; [ $(wc -l <{tmp_path}/tries) -gt 2 ]")
    assert [type(event) for event in heard] == [events.PhaseStarted, events.PhaseEnded]
    assert list(tmp_path.glob("*.log")) == []


# ---- secrets


def test_a_secret_reaches_its_command_and_nothing_else(
    guest: Guest, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "tkn-0123456789\nsecond line")
    heard: list[events.Event] = []
    line = f'printf "%s/" "$TOKEN" >{tmp_path}/there; cat >>{tmp_path}/there; echo "$TOKEN"; echo "$TOKEN" >&2'
    with events.listening(heard.append):
        result = guest.run(line, stdin=b"its own input", env_from=("TOKEN",), timeout_s=LIMIT_S, warn=True)
    assert (tmp_path / "there").read_text() == "tkn-0123456789\nsecond line/its own input"
    assert result.stdout == result.stderr == "***\n"
    assert result.log is not None
    assert result.log.read_text() == "***\n***\n"
    everything = f"{server.ran} {heard} {result}"
    assert "0123456789" not in everything
    assert "second line" not in everything


def test_what_a_guest_once_got_no_later_command_shows(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "tkn-0123456789")
    guest.succeed(["true"], env_from=("TOKEN",))
    assert guest.succeed(["echo", "tkn-" + "0123456789"]) == "***\n"
    assert guest.query(["echo", "it is tkn-0123456789"]) == "it is ***\n"
    with pytest.raises(CommandFailed, match=r"failed: no \*\*\*"):
        guest.query("echo no tkn-0123$((45678))9 >&2; false")


def test_a_secret_that_comes_piece_by_piece_is_hidden_and_a_prompt_is_not_held_back(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TOKEN", "tkn-0123456789")
    heard: list[str] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Output):
            heard.append(event.text)
            (tmp_path / "go on").touch()

    wait = f"until [ -e '{tmp_path}/go on' ]; do sleep 0.05; done"
    with events.listening(hear):
        guest.run(
            f"printf 'is it: tkn-01'; {wait}; printf '23456789 or tkn-?'", env_from=("TOKEN",), timeout_s=20, warn=True
        )
    assert heard[0] == "is it: "
    assert "".join(heard) == "is it: *** or tkn-?"


def test_a_variable_that_is_not_set_is_said_before_anything_runs(
    guest: Guest, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(UsageError, match="the variable TOKEN: it is not set here"):
        guest.run(["true"], env_from=("TOKEN",), warn=True)
    assert server.ran == []


# ---- what a hostile guest may say


def test_a_guest_that_never_ends_its_first_line_fills_no_memory(guest: Guest, server: Server) -> None:
    server.answers = {"echo $$": b"7" * (1 << 20)}
    pieces: list[int] = []
    with events.listening(lambda event: pieces.append(len(event.text)) if isinstance(event, events.Output) else None):
        result = guest.run(["true"], timeout_s=LIMIT_S, warn=True)
    assert result.stdout == "7" * (1 << 20), "it is output like any other"
    assert max(pieces) <= 65536


# ---- bad news


def test_a_command_that_is_never_taken_up_ends_at_its_limit_and_with_bad_news(
    guest: Guest, server: Server, news: list[Exception]
) -> None:
    server.is_deaf = True
    with pytest.raises(ConnectionLost, match="no answer within 1 s"):
        guest.run(["true"], timeout_s=1, warn=True)
    news.append(ConnectionLost("the kernel of m panicked"))
    with pytest.raises(ConnectionLost, match="panicked"):
        guest.run(["true"], warn=True)


@pytest.mark.parametrize(
    "verb",
    [
        lambda guest, _: guest.run(["sleep", str(LIMIT_S)], warn=True),
        lambda guest, _: guest.query(["sleep", str(LIMIT_S)]),
        lambda guest, here: guest.put(here / "file", str(here / "copy")),
        lambda guest, here: guest.get(str(here / "pipe"), here / "copy"),
    ],
    ids=["run", "query", "put", "get"],
)
def test_bad_news_of_the_machine_ends_every_wait(
    guest: Guest, server: Server, news: list[Exception], tmp_path: Path, verb: Callable[[Guest, Path], object]
) -> None:
    (tmp_path / "file").write_bytes(bytes(64 << 20))
    subprocess.run(["mkfifo", tmp_path / "pipe"], check=True)  # tar would wait for ever for somebody who writes
    news.append(ConnectionLost("the kernel of m panicked"))  # which comes once the command has started
    with pytest.raises(ConnectionLost, match="panicked"):
        verb(guest, tmp_path)
    assert server.ran


def test_a_connection_that_breaks_as_its_channel_is_closed_takes_no_outcome_with_it(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(channel: paramiko.Channel) -> None:
        whole(channel)
        if channel.transport is guest._session.connection.transport:
            raise EOFError

    whole = paramiko.Channel.close
    monkeypatch.setattr(paramiko.Channel, "close", close)
    assert guest.run("echo told").stdout == "told\n"
    assert guest.query("echo told") == "told\n"
    with pytest.raises(TimedOut, match="within 1 s"):
        guest.run(["sleep", str(LIMIT_S)], timeout_s=1)


# ---- connections that break


def raises(problem: Exception) -> Callable[[], object]:
    def fail() -> object:
        raise problem

    return fail


def cut(guest: Guest) -> None:
    """Have a connection break while nothing is under way, as far as this side can tell."""
    transport = guest.connection.transport
    transport.sock.shutdown(socket.SHUT_RDWR)
    transport.join(LIMIT_S)


def test_why_a_connection_broke_is_told(guest: Guest) -> None:
    cut(guest)
    with pytest.raises(ConnectionLost, match="m no longer answers: it was closed"):
        guest.run("true")
    guest.wait_up()
    guest.connection.transport.packetizer.read_message = raises(paramiko.SSHException("Mismatched MAC"))
    guest.connection.transport.global_request("a word that ends the wait for one", wait=False)
    guest.connection.transport.join(LIMIT_S)
    with pytest.raises(ConnectionLost, match="m no longer answers: Mismatched MAC"):
        guest.run("true")


def test_news_that_are_not_bad_do_not_end_the_wait_for_bad_ones(server: Server) -> None:
    def watch(_: float) -> None:
        told.append(1)
        if len(told) == 3:
            raise HostError("QEMU is gone")

    told: list[int] = []
    ours = Session("m", server.connect(), lambda _: server.connect(), watch)
    with closing(ours), pytest.raises(HostError, match="QEMU is gone"):
        ours.lost("m no longer answers")


# ---- signs of life


@pytest.mark.usefixtures("impatient")
def test_a_machine_that_hangs_is_a_lost_connection_without_any_limit(guest: Guest, server: Server) -> None:
    server.hangs.set()
    with pytest.raises(ConnectionLost, match=r"m has not answered for 0\.8 s"):
        guest.run(["sleep", str(LIMIT_S)], warn=True)


@pytest.mark.usefixtures("impatient")
def test_a_machine_that_answers_may_be_silent_for_long(guest: Guest, server: Server) -> None:
    assert guest.run(["sleep", "2"], warn=True).ok
    assert server.asked > 3
    before = server.asked
    guest.close()
    for _ in range(20):
        guest.watch(0.05)  # somebody may still wait for the machine's end
    assert server.asked == before


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_comes_late_comes(guest: Guest, server: Server) -> None:
    server.hangs.set()
    threading.Timer(0.5, server.over.set).start()
    assert guest.run(["sleep", "2"], warn=True).ok
    assert server.asked > 1


def test_time_in_which_nobody_looked_says_nothing_of_the_machine(
    guest: Guest, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0, 15.0, 15.5, 16.0, 16.5, 3600.0]  # we were stopped, as by Ctrl-Z
    monkeypatch.setattr(keepalive, "time", SimpleNamespace(monotonic=lambda: clock.pop(0)))
    server.hangs.set()
    asks = Keepalive(guest.connection, every_s=15)
    assert [asks.poll() for _ in range(5)] == [0, 0.5, 1.0, 1.5, 2.5]


@pytest.mark.usefixtures("impatient")
def test_a_limit_that_passes_on_a_machine_that_hangs_is_told_as_both_and_at_once(guest: Guest, server: Server) -> None:
    threading.Timer(0.4, server.hangs.set).start()
    began_s = time.monotonic()
    with pytest.raises(TimedOut, match=r"did not end within 1 s, and m no longer answers"):
        guest.run(["sleep", str(LIMIT_S)], timeout_s=1, warn=True)
    assert time.monotonic() - began_s < 5


def test_bad_news_that_comes_once_ends_a_transfer_to_a_guest_that_takes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, __: bytes) -> int:
        raise TimeoutError

    def watch(_: float) -> None:
        raise news.pop()

    news = [ConnectionLost("the kernel of m panicked")]
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    monkeypatch.setattr(streams, "send", full)
    channel: Any = SimpleNamespace(settimeout=lambda _: None)
    sink = streams.Sink(channel, watch, streams.TransferProgress("upload", "m"))
    with pytest.raises(ConnectionLost, match="panicked"):
        archive.pack(archive.walk(tmp_path / "file"), sink)


# ---- files


def test_files_go_there_and_back(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "in" / "d").mkdir(parents=True)
    (tmp_path / "in" / "d" / "file").write_bytes(b"content" * 100_000)
    (tmp_path / "in" / "link").symlink_to("d/file")
    guest.put(tmp_path / "in", str(tmp_path / "there"))
    assert {path.name for path in guest.get(str(tmp_path / "there"), tmp_path / "back")} == {"file", "link"}
    assert (tmp_path / "back" / "link").read_bytes() == b"content" * 100_000
    assert guest.get(str(tmp_path / "there/d/*"), tmp_path / "more") == [tmp_path / "more" / "file"]
    assert guest.get(str(tmp_path / "there/d/file"), tmp_path / "other name") == [tmp_path / "other name"]


def test_what_is_not_there_is_the_askers_mistake_and_all_else_is_not(guest: Guest, tmp_path: Path) -> None:
    for source in ("nowhere", "no*where"):
        with pytest.raises(CommandFailed, match=r"(there is no|nothing matches) .*where"):
            guest.get(str(tmp_path / source), tmp_path / "back")
    (tmp_path / "file").touch()
    with pytest.raises(TestFailed, match=r"cannot put .* on m: .*File exists"):
        guest.put(tmp_path / "file", str(tmp_path / "file" / "below"))
    with pytest.raises(UsageError, match="there is no such file"):
        guest.put(tmp_path / "nowhere", "/tmp")


def test_a_guest_that_sends_more_than_was_asked_for_is_not_believed(
    guest: Guest, server: Server, tmp_path: Path
) -> None:
    server.answers = {"there/log": b"fs" + tar_of("./log", "./Makefile", ".git/hooks/post-checkout")}
    (tmp_path / "log").write_text("of the host")
    notes: list[events.Event] = []
    with events.listening(notes.append):
        assert guest.get("/there/log", tmp_path / "log.txt") == [tmp_path / "log.txt"]
        server.answers = {"there/": b"fs" + tar_of("./one.deb", "./Makefile", "deb/x.deb")}
        assert guest.get("/there/*.deb", tmp_path) == [tmp_path / "one.deb"]
    assert (tmp_path / "log").read_text() == "of the host"
    assert not (tmp_path / "Makefile").exists()
    assert not (tmp_path / ".git").exists()
    assert sum(isinstance(event, events.Note) for event in notes) == 4


def test_a_guest_that_names_files_which_nobody_asked_for_is_not_believed(guest: Guest, server: Server) -> None:
    server.answers = {"for f in": b"/build/x/one.tar.gz\n/root/.bashrc\n/build/../etc/one.tar.gz\n/build/x/.tar.gz/y\n"}
    assert guest.glob("/build/*/*.tar.gz") == ["/build/x/one.tar.gz"]


# ---- the transfer disk


def test_a_guest_without_the_disk_gets_its_files_over_ssh(guest: Guest, server: Server, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_bytes(b"x" * (1 << 20))
    for target in ("one", "two"):
        guest.put(tmp_path / "in", str(tmp_path / target))
        assert (tmp_path / target / "file").stat().st_size == 1 << 20
    asked = [command for command in server.ran if "blockdev" in command]
    assert len(asked) == 1, "it is not asked again"
    assert is_empty(tmp_path / "transfer")


def test_what_is_small_does_not_go_by_disk(guest: Guest, server: Server, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x" * 1000)
    guest.put(tmp_path / "small", str(tmp_path / "there"))
    assert not [command for command in server.ran if "blockdev" in command]


def test_what_the_guest_has_packed_is_read_from_the_disk(guest: Guest, server: Server, tmp_path: Path) -> None:
    with (tmp_path / "transfer").open("r+b") as disk:
        disk.write(tar_of("./log", "./Makefile"))
    server.answers = {"there/log": b"fx"}
    assert guest.get("/there/log", tmp_path / "log.txt") == [tmp_path / "log.txt"]
    assert not (tmp_path / "Makefile").exists()
    assert is_empty(tmp_path / "transfer")


def test_the_disk_goes_on_serving_after_a_file_that_was_not_there(guest: Guest, server: Server, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="there is no"):
        guest.get(str(tmp_path / "nowhere"), tmp_path / "back")
    server.ran.clear()
    (tmp_path / "large").write_bytes(b"x" * (1 << 20))
    guest.put(tmp_path / "large", str(tmp_path / "there"))
    assert "blockdev" in server.ran[0]


def test_a_file_that_shrinks_while_it_is_sent_is_no_defect(guest: Guest, tmp_path: Path) -> None:
    def shrinking(*_: object, **__: object) -> None:
        raise OSError("unexpected end of data")

    (tmp_path / "file").write_bytes(bytes(1 << 20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vmtasks.guest.archive.pack", shrinking)
        with pytest.raises(HostError, match="unexpected end of data"):
            guest.put(tmp_path / "file", str(tmp_path / "there"))
    guest.put(tmp_path / "file", str(tmp_path / "there"))  # and once more, over ssh


def test_the_disk_is_lent_to_one_at_a_time_and_to_nobody_after_trouble(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.touch()
    transfer_disk = TransferDisk(path, lambda: 0)
    with (
        transfer_disk.acquire(1 << 20) as first,
        transfer_disk.acquire(1 << 20) as second,
        transfer_disk.acquire(10) as small,
    ):
        assert first is not None
        assert (second, small) == (None, None)
        first.write(b"x" * 5000)
    assert is_empty(path)
    with pytest.raises(ZeroDivisionError), transfer_disk.acquire(1 << 20):
        raise ZeroDivisionError
    with transfer_disk.acquire(1 << 20) as disk:
        assert disk is None


def is_empty(path: Path) -> bool:
    return path.stat().st_size == TRANSFER_DISK_BYTES and path.stat().st_blocks == 0


@pytest.mark.parametrize("line", ["sleep 60", "printf ds; sleep 60", "cat /dev/zero"])
def test_a_transfer_that_does_not_end_is_ended(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr("vmtasks.guest.transfer.tar_into", lambda _: line)
    monkeypatch.setattr("vmtasks.guest.transfer.tar_out_of", lambda _, **_options: line)
    (tmp_path / "file").write_text("x")
    with pytest.raises(TimedOut, match=r"cannot put .*: it did not end within 1 s"):
        guest.put(tmp_path / "file", "file", timeout_s=1.0)
    guest.timeout_s = 1.0
    with pytest.raises((TimedOut, TestFailed), match=r"it did not end within 1 s|cannot unpack"):
        guest.get("file", tmp_path / "out")
    guest.timeout_s = None
    assert guest.run(["true"]).ok, "the machine is as well as before"


def test_commands_that_end_while_their_output_comes_leave_the_connection_whole(guest: Guest) -> None:
    for _ in range(2):
        with pytest.raises(TimedOut):
            guest.run("cat /dev/zero", timeout_s=3.0)  # which a busy host has for the command's begin, too
    assert guest.run("echo out; echo err >&2").stdout == "out\n"
    assert guest.connection.transport.is_active()


def test_what_comes_out_of_the_machines_of_a_run_counts_together(guest: Guest, tmp_path: Path) -> None:
    allowance = Allowance(max_bytes=100_000, max_names=5)
    guest.share(allowance)
    guest.run("mkdir d && head -c 40000 /dev/zero >d/large && touch d/1 d/2")
    guest.get("d/large", tmp_path / "one")
    guest.get("d/large", tmp_path / "two")
    with pytest.raises(TestFailed, match="cannot take more than 0 MiB out of the guests of one run"):
        guest.get("d/large", tmp_path / "three")
    assert not (tmp_path / "three").exists()
    guest.share(Allowance(max_names=3))
    with pytest.raises(TestFailed, match="cannot take more than 3 names out of the guests of one run"):
        guest.get("d", tmp_path / "all")
