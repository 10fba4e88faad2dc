"""Whole command lines of runvm without a guest: QEMU is the fake one, and ssh runs the guest's commands here."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fake_qemu import FILES, Script, command
from tests.process.supervised import LIMIT_S
from vmtasks import events
from vmtasks.errors import BootError
from vmtasks.guest import Result
from vmtasks.host.lease import leases
from vmtasks.integrations.runvm.main import runvm
from vmtasks.machine import lifecycle
from vmtasks.process.landlock import Reach
from vmtasks.ssh.session import Session
from vmtasks.supervisor.client import SupervisorClient
from vmtasks.supervisor.plan import Plan

QEMU = """#!/bin/sh
script=$(ls '{scripts}' | head -n 1)
words=$(cat "{scripts}/$script")
[ "$(ls '{scripts}' | wc -l)" = 1 ] || rm "{scripts}/$script"
exec {fake} "$words" "$@"
"""
SSH = """#!/bin/sh
printf '%s\\n' "$*" >>'{log}'
for line; do :; done
case " $* " in *" -n "*) exec </dev/null;; esac
exec /bin/sh -c "$line"
"""
GRUMBLES: Script = {"start": [["complain", "a thing is odd"]]}

WRITE_PID = "= sed -n 's/.*\"qemu_pid\": \\([0-9]*\\).*/\\1/p' cache/machines/*/lease.json >qemu.pid"

Stderr = Callable[[], str]


def fail_to_answer(monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    problems = [BootError("the guest did not answer")] * times

    def connect(*_: object, **__: object) -> None:
        if problems:
            raise problems.pop()

    monkeypatch.setattr(lifecycle, "connect", connect)


class StandIn:
    """Plays a guest that is there until its QEMU is gone, and shuts down when it is told to."""

    def __init__(self, session: Session, **known: Any) -> None:
        self.name = session.machine
        self.watch = session.watch
        self.__dict__ |= known

    def is_up(self) -> bool:
        """Tell whether it answers."""
        return bool(qemus())

    def run(self, command: tuple[str, ...], **_: object) -> Result:
        """Shut down: there is nothing else that it is told in this way."""
        assert "/sbin/shutdown" in command
        for pid in qemus():
            os.kill(pid, signal.SIGTERM)
        return Result(machine=self.name, command="", exited=0, stdout="", stderr="", duration_s=0.0)

    def close(self) -> None:
        """Do nothing."""


def qemus() -> list[int]:
    return [int(lease.info["qemu_pid"]) for lease in leases() if lease.alive]


@pytest.fixture(autouse=True)
def plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Be in a directory with an image, on a host whose QEMU plays these scripts, one start after the other."""
    programs, scripts = tmp_path / "bin", tmp_path / "scripts"
    programs.mkdir()
    scripts.mkdir()
    fake = " ".join(command()[:-1])
    for name, text in (
        ("qemu-system-x86_64", QEMU.format(scripts=scripts, fake=fake)),
        ("ssh", SSH.format(log=tmp_path / "ssh.log")),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VMTASKS_ACCEL", "tcg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lifecycle, "QemuGuest", StandIn)
    monkeypatch.setattr(lifecycle, "connect", lambda *_, **__: None)
    monkeypatch.setattr(lifecycle, "pin_host_key", lambda access, *_: access)
    plan_of = lifecycle.plan_of

    def plan(*circumstances: Any, **files: Any) -> Plan:
        plan = plan_of(*circumstances, **files)
        slot = plan.slot._replace(directory=str(tmp_path / "queue"))
        return plan._replace(slot=slot, reach=plan.reach | Reach(FILES, (str(scripts),)))

    monkeypatch.setattr(lifecycle, "plan_of", plan)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "image.qcow2", "1M"], check=True)
    signature = ["-c", "write -P 0x55 510 1", "-c", "write -P 0xaa 511 1"]
    subprocess.run(["qemu-io", *signature, "image.qcow2"], check=True, stdout=subprocess.DEVNULL)

    def play(*played: Script) -> None:
        for number, script in enumerate(played):
            (scripts / str(number)).write_text(command(script)[-1])

    play({})
    return play


@pytest.fixture
def stderr(capfd: pytest.CaptureFixture[str]) -> Stderr:
    return lambda: capfd.readouterr().err


def run(*words: str) -> int:
    return runvm(["--port=0", "--memory=64", "--smp=1", *words])


# --- commands --------------------------------------------------------------------------------------------------


def test_the_commands_run_one_after_the_other_in_the_guest_and_on_the_host(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script = "set -e\necho several\necho lines"
    assert run("image.qcow2", "echo in the guest", "= echo on the host, $VMTASKS_PORT", script) == 0
    out, err = capfd.readouterr()
    in_guest, on_host, *rest = out.splitlines()
    assert (in_guest, rest) == ("in the guest", ["several", "lines"])
    assert on_host.startswith("on the host, ")
    assert "+ echo in the guest\n= echo on the host, $VMTASKS_PORT\n" in err
    assert "Command exit" not in err
    assert f"+ {script}\n" in err
    ssh = (tmp_path / "ssh.log").read_text()
    assert ssh.count(" -p ") == 2, "nothing but guest commands goes through ssh"
    assert f"-p {on_host.rpartition(' ')[2]} " in ssh


def test_no_command_at_all_is_a_boot_and_a_shutdown() -> None:
    assert run("image.qcow2") == 0
    assert leases() == ()


def test_the_first_command_that_fails_ends_the_run_but_for_those_that_always_run(
    capfd: pytest.CaptureFixture[str],
) -> None:
    commands = ["echo 1", "exit 7", "echo 2", "= echo 3", "! echo 4", "!= echo 5", "=! exit 8", "! exit 9", "! echo 6"]
    assert run("image.qcow2", *commands) == 7
    out, err = capfd.readouterr()
    assert out.split() == ["1", "4", "5", "6"]
    assert "+ exit 7\nCommand exit 7\n" in err


@pytest.mark.parametrize("commands", [["! exit 5", "echo no"], ["=! exit 5", "echo no"], ["= exit 5", "echo no"]])
def test_any_command_can_be_the_first_that_fails(commands: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run("image.qcow2", *commands) == 5
    assert capfd.readouterr().out == ""


def test_commands_on_the_host_are_in_our_directory(tmp_path: Path) -> None:
    assert run("image.qcow2", "= rm -Rf debs", "= mkdir debs && echo here >debs/file") == 0
    assert (tmp_path / "debs" / "file").read_text() == "here\n"


def test_a_command_that_a_signal_ended_has_the_status_of_a_shell() -> None:
    assert run("image.qcow2", "= kill -TERM $$") == 128 + signal.SIGTERM


@pytest.mark.parametrize("prefix", ["", "= "])
@pytest.mark.parametrize(("how", "status"), [("classic", 124), ("typed", 124)])
def test_a_command_that_takes_too_long_is_ended_and_the_run_with_it(
    stderr: Stderr, tmp_path: Path, prefix: str, how: str, status: int
) -> None:
    line = f"{prefix}exec sleep 600"
    limits = ["--command-timeout=0.5", f"--exit-codes={how}"]
    assert run(*limits, "image.qcow2", line, "= touch too-late", "!= touch always") == status
    assert "did not end within 0.5 s" in stderr()
    assert not (tmp_path / "too-late").exists()
    assert (tmp_path / "always").exists()


def test_a_terminal_if_asked_for_whatever_we_have(tmp_path: Path) -> None:
    assert run("--terminal", "image.qcow2", "true") == 0
    assert run("--terminal", "--stdin", "image.qcow2", "true") == 0
    assert run("image.qcow2", "true") == 0
    ways = [
        [word for word in line.split() if word in {"-t", "-n"}] for line in Path("ssh.log").read_text().splitlines()
    ]
    assert ways == [["-t", "-t", "-n"], ["-t", "-t"], ["-n"]]


def test_the_log_begins_with_the_command_line_of_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_answer(monkeypatch, times=1)
    assert run("--logfile=kernel.log", "image.qcow2", "true") == 0
    lines = Path("kernel.log").read_text().splitlines()
    assert lines[0].startswith("qemu-system-x86_64 ")
    second = lines.index("--- attempt 2 ---")
    assert lines[second + 1].startswith("qemu-system-x86_64 ")


def test_what_a_host_command_leaves_in_the_background_ends_with_the_run(ended: Callable[..., bool]) -> None:
    assert run("image.qcow2", "= sleep 600 & echo $! >pid") == 0
    with pytest.raises(ProcessLookupError):
        ended(int(Path("pid").read_text()))


# --- standard input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "seen"), [([], b""), (["--stdin"], b"a word\n")])
def test_guest_commands_read_nothing_unless_asked_to(
    monkeypatch: pytest.MonkeyPatch, words: list[str], seen: bytes
) -> None:
    receives, sends = os.pipe()
    stdin = os.dup(0)
    try:
        os.write(sends, b"a word\n")
        os.close(sends)
        os.dup2(receives, 0)
        assert run(*words, "image.qcow2", "cat >seen") == 0
    finally:
        os.dup2(stdin, 0)
        os.close(receives)
    assert Path("seen").read_bytes() == seen


# --- what goes wrong before a command runs ---------------------------------------------------------------------

CODES = pytest.mark.parametrize(("how", "usage", "host"), [("classic", 1, 1), ("typed", 64, 69)])


@CODES
def test_usage_goes_to_standard_output(capfd: pytest.CaptureFixture[str], how: str, usage: int, host: int) -> None:
    assert runvm([f"--exit-codes={how}"]) == usage
    out, err = capfd.readouterr()
    assert out.startswith("Usage: runvm <options> image.qcow2 [command ...]\n")
    assert err == "runvm: no image is given\n"


def test_help_goes_to_standard_output_and_is_no_failure(capfd: pytest.CaptureFixture[str]) -> None:
    assert runvm(["-help"]) == 0
    out, err = capfd.readouterr()
    assert "--base-image=IMG" in out
    assert err == ""


@CODES
def test_images_that_cannot_be(stderr: Stderr, how: str, usage: int, host: int) -> None:
    codes = f"--exit-codes={how}"
    for words in (["none.qcow2"], ["-b", "none.qcow2", "tmp.qcow2"], ["-b", "image.qcow2", "image.qcow2"]):
        assert run(codes, *words, "= touch run") == usage
    Path("broken.qcow2").write_bytes(b"QFI\xfb\0\0\0\3" + bytes(100))
    assert run(codes, "broken.qcow2", "= touch run") == host
    assert stderr().count("runvm: ") == 4
    assert not Path("run").exists()


@CODES
def test_a_log_file_that_cannot_be_written(stderr: Stderr, how: str, usage: int, host: int) -> None:
    assert run(f"--exit-codes={how}", "--logfile=no/kernel.log", "image.qcow2", "= touch run") == host
    assert stderr().endswith("runvm: cannot write the log file no/kernel.log: No such file or directory\n")
    assert not Path("run").exists()


@CODES
def test_a_port_that_somebody_keeps(stderr: Stderr, how: str, usage: int, host: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        words = [f"--exit-codes={how}", f"--port={number}", "--port-timeout=0.5", "image.qcow2", "= touch run"]
        assert runvm(words) == host
    last = stderr().splitlines()[-2:]
    assert last[0].startswith(f"runvm: cannot have port {number}: ")
    assert last[0].endswith(f"(pid {os.getpid()}) has it")
    assert "--port=0" in last[1]
    assert not Path("run").exists()


def test_a_port_that_somebody_gives_back_in_time(stderr: Stderr) -> None:
    receives, sends = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        holder = subprocess.Popen(["sh", "-c", "read go"], stdin=receives, pass_fds=[server.fileno()])
    os.close(receives)
    with holder, os.fdopen(sends, "w") as pipe:

        def give_back(event: events.Event) -> None:
            if isinstance(event, events.Note):
                pipe.close()

        with events.listening(give_back):
            assert runvm([f"--port={number}", "--memory=64", "image.qcow2", "= echo $VMTASKS_PORT >port"]) == 0
    assert Path("port").read_text() == f"{number}\n"
    assert f"waiting for port {number}, which sh (pid {holder.pid}) has" in stderr()


def test_a_port_that_somebody_takes_in_the_last_moment_is_waited_for_as_well(
    plays: Callable[..., None], stderr: Stderr
) -> None:
    words = "-nic user,id=net,hostfwd=tcp:127.0.0.1:2222-:22: Could not set up host forwarding rule 'tcp::2222-:22'"
    plays({"start": [["complain", words], ["exit", 1]]}, {})
    assert run("--kvm-retries=1", "image.qcow2", "= touch run") == 0
    assert Path("run").exists()


# --- boots -----------------------------------------------------------------------------------------------------


@CODES
def test_a_boot_that_fails_is_tried_again_and_the_log_file_keeps_every_attempt(
    plays: Callable[..., None], stderr: Stderr, monkeypatch: pytest.MonkeyPatch, *, how: str, usage: int, host: int
) -> None:
    plays(GRUMBLES)
    fail_to_answer(monkeypatch, times=2)
    Path("kernel.log").write_text("of an earlier run")
    words = [f"--exit-codes={how}", "--kvm-retries=2", "-l", "kernel.log", "image.qcow2", "!= touch run"]
    assert run(*words) == host
    log = Path("kernel.log").read_text()
    assert log.count("a thing is odd") == 2
    assert "--- attempt 2 ---" in log
    assert "earlier run" not in log
    assert "runvm: the guest did not answer\n" in stderr()
    assert not Path("run").exists(), "no command runs where there is no guest"


def test_files_that_qemus_own_arguments_name_are_beside_the_caller() -> None:
    line = "= readlink /proc/$(cat qemu.pid)/cwd >cwd"
    assert run("--kvm=-hdb", "--kvm=blank.qcow2", "image.qcow2", WRITE_PID, line) == 0
    assert Path("cwd").read_text() == f"{Path.cwd()}\n"


def test_a_base_image_is_laid_under_anew_for_every_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tmp.qcow2").write_text("of an earlier run")
    fail_to_answer(monkeypatch, times=1)
    assert run("-b", "image.qcow2", "tmp.qcow2") == 0
    info = subprocess.check_output(["qemu-img", "info", "tmp.qcow2"], text=True)
    assert f"backing file: {Path('image.qcow2').absolute()}" in info


# --- the end ---------------------------------------------------------------------------------------------------


def test_a_guest_that_is_lost_is_255_or_69_and_what_always_runs_still_does(stderr: Stderr) -> None:
    kill = "kill -9 $(cat qemu.pid); exec sleep 600"
    for how, status in (("classic", 255), ("typed", 69)):
        assert run(f"--exit-codes={how}", "image.qcow2", WRITE_PID, kill, "touch run", "!= touch always") == status
        assert not Path("run").exists()
        Path("always").unlink()
    assert "image is gone" in stderr()


def test_a_host_command_ends_with_the_machine_and_what_always_runs_does_not() -> None:
    kill = "= kill -9 $(cat qemu.pid); exec sleep 600"
    assert run("image.qcow2", WRITE_PID, kill, "!= sleep 0.5; touch always") == 255
    assert Path("always").exists()


def test_a_status_of_255_of_a_guest_that_is_there_is_the_commands_own() -> None:
    assert run("--exit-codes=typed", "image.qcow2", "exit 255") == 1
    assert run("image.qcow2", "exit 255") == 255


def test_a_guest_that_does_not_shut_down_is_ended_and_told_and_changes_no_status(
    plays: Callable[..., None], stderr: Stderr, tmp_path: Path
) -> None:
    plays({"SIGTERM": [["ignore"]]})
    for line, status in (("true", 0), ("exit 3", 3)):
        assert run("--shutdown-timeout=0.5", "image.qcow2", line) == status
        assert "image did not power itself off within 0.5 s: its disk may not be whole" in stderr()
    assert leases() == ()


@pytest.mark.parametrize(
    ("commands", "status"),
    [(["true"], 0), (["exit 2"], 2), ([WRITE_PID, "kill $(cat qemu.pid); exec sleep 600"], 255)],
)
def test_a_work_image_comes_to_its_place_whenever_the_guest_has_powered_off(commands: list[str], status: int) -> None:
    Path("fast").mkdir()
    words = ["-b", "image.qcow2", "--work-image=fast/work.qcow2", "tmp.qcow2"]
    assert run(*words, "= ls fast >while", *commands) == status
    assert Path("while").read_text() == "work.qcow2\n"
    assert not Path("fast/work.qcow2").exists()
    subprocess.run(["qemu-img", "check", "-q", "tmp.qcow2"], check=True)


def test_a_work_image_may_be_on_another_disk() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as fast:
        assert run("-b", "image.qcow2", f"--work-image={fast}/work.qcow2", "tmp.qcow2") == 0
        assert not list(Path(fast).iterdir())
    assert Path("tmp.qcow2").stat().st_mode == Path("image.qcow2").stat().st_mode
    subprocess.run(["qemu-img", "check", "-q", "tmp.qcow2"], check=True)


def test_a_guest_that_gets_no_time_to_shut_down_is_ended_and_its_image_kept(plays: Callable[..., None]) -> None:
    plays({"SIGTERM": [["ignore"]]})
    words = ["-b", "image.qcow2", "--work-image=work.qcow2", "--shutdown-timeout=0", "tmp.qcow2"]
    assert run(*words, "true") == 0
    assert Path("tmp.qcow2").exists()
    assert not Path("work.qcow2").exists()


def test_two_do_not_write_to_one_image(stderr: Stderr) -> None:
    program = "import sys; from vmtasks.integrations.runvm.main import runvm; sys.exit(runvm(sys.argv[1:]))"
    second = f"{sys.executable} -c '{program}'"
    words = "--port=0 --memory=64 --exit-codes=typed"
    Path("other.qcow2").write_bytes(Path("image.qcow2").read_bytes())
    for image in ("-b other.qcow2 --work-image=work.qcow2 new.qcow2", "tmp.qcow2", "-b other.qcow2 tmp.qcow2"):
        line = f"= {second} {words} {image} true; test $? = 69"
        assert run("-b", "image.qcow2", "--work-image=work.qcow2", "tmp.qcow2", line) == 0
    assert stderr().count("another runvm does") == 3


def test_an_interrupt_ends_a_shutdown_that_takes_its_time(
    plays: Callable[..., None], stderr: Stderr, monkeypatch: pytest.MonkeyPatch
) -> None:
    plays({"SIGTERM": [["ignore"]]})
    stop = SupervisorClient.stop

    def interrupted(client: SupervisorClient, **options: Any) -> None:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM)).start()
        stop(client, **options)

    monkeypatch.setattr(SupervisorClient, "stop", interrupted)
    began_s = time.monotonic()
    assert run("--exit-codes=typed", "--shutdown-timeout=600", "image.qcow2", "true") == 130
    assert time.monotonic() - began_s < LIMIT_S
    assert "runvm: interrupted by SIGTERM" in stderr()
    assert leases() == ()


@pytest.mark.parametrize(("how", "status"), [("classic", 1), ("typed", 130)])
@pytest.mark.parametrize("first", [[], [WRITE_PID, "= kill $(cat qemu.pid)"]])
def test_a_signal_ends_the_run_at_once(stderr: Stderr, how: str, status: int, first: list[str]) -> None:
    words = [f"--exit-codes={how}", "-b", "image.qcow2", "--work-image=work.qcow2", "tmp.qcow2"]
    assert run(*words, *first, f"= kill -TERM {os.getpid()}; exec sleep 600", "!= touch always") == status
    assert "runvm: interrupted by SIGTERM" in stderr()
    assert not Path("always").exists(), "who interrupts wants an end"
    assert not Path("work.qcow2").exists()
    assert not Path("tmp.qcow2").exists()
    assert leases() == ()
