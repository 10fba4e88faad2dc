"""The guest's verbs, on one real machine that all of these tests share."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks import CommandFailed, Guest, TestFailed, TimedOut, UsageError, boot, events
from vmtasks.deadline import Deadline

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    logs = tmp_path_factory.mktemp("logs")
    with boot("bookworm", cpus=2, log_dir=logs, purpose="vmtasks's own tests") as machine:
        yield machine


def test_a_result_tells_all_of_a_command(guest: Guest) -> None:
    result = guest.run("echo out; echo err >&2; exit 3", warn=True)
    assert (result.exited, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert (result.ok, result.signal, result.truncated) == (False, 0, False)
    assert result.duration_s > 0
    assert result.log is not None
    assert sorted(result.log.read_text().splitlines()) == ["err", "out"]


def test_an_argument_vector_reaches_the_program_as_it_is(guest: Guest) -> None:
    words = ["a b", "$HOME", "'", '"', "*", "", "ä\n"]
    assert guest.succeed(["printf", "%s\\0", *words]).split("\0")[:-1] == words


def test_a_text_is_a_line_for_the_shell_and_a_failure_is_an_error(guest: Guest) -> None:
    assert guest.run("echo a | tr a b").stdout == "b\n"
    with pytest.raises(CommandFailed, match="ended with status 3") as failure:
        guest.run("echo out; exit 3")
    assert failure.value.result.stdout == "out\n"
    with guest.cd("/srv"):
        assert guest.succeed("pwd") == "/srv\n"


def test_death_by_a_signal_is_told(guest: Guest) -> None:
    assert guest.run("kill -SEGV $$", warn=True).signal == 11


def test_succeed_and_fail_hold_what_they_say(guest: Guest) -> None:
    assert guest.succeed(["echo", "yes"]) == "yes\n"
    assert guest.fail("echo no; false") == "no\n"
    with pytest.raises(CommandFailed, match="status 1") as failure:
        guest.succeed("echo why it failed; false")
    assert failure.value.details == ("why it failed",)
    with pytest.raises(CommandFailed, match="was to fail"):
        guest.fail(["true"])


def test_users_directories_and_environments(guest: Guest) -> None:
    output = guest.succeed('id -un; pwd; echo "$HOME $COLOUR"', user="builder", cwd="/tmp", env={"COLOUR": "deep red"})
    assert output == "builder\n/tmp\n/home/builder deep red\n"


def test_a_command_that_reads_finds_nothing_or_what_it_was_given(guest: Guest) -> None:
    assert guest.succeed(["cat"], timeout_s=30) == ""
    assert guest.succeed(["cat"], stdin="given ✓".encode()) == "given ✓"


def test_output_that_is_no_text_is_shown_all_the_same(guest: Guest) -> None:
    assert guest.succeed(r"printf 'caf\351 \303\251'") == "caf� é"


def test_a_limit_ends_the_command_and_all_its_children(guest: Guest) -> None:
    with pytest.raises(TimedOut, match="did not end within 2 s") as limit:
        guest.run("trap '' TERM; echo begun; sleep 654 & wait", timeout_s=2, warn=True)
    assert "begun" in limit.value.details
    assert guest.run(["pgrep", "-f", "^sleep 654"], warn=True).exited == 1


def test_a_daemon_that_holds_its_output_open_holds_nobody(guest: Guest) -> None:
    result = guest.run("sleep 600 & echo started", timeout_s=60, warn=True)
    assert result.stdout == "started\n"
    guest.run(["pkill", "sleep"], warn=True)


def test_a_silent_command_gives_a_sign_of_life(guest: Guest) -> None:
    heard: list[events.Heartbeat] = []
    guest.heartbeat_s, before = 0.5, guest.heartbeat_s
    try:
        with events.listening(lambda event: heard.append(event) if isinstance(event, events.Heartbeat) else None):
            guest.run(["sleep", "2"], warn=True)
    finally:
        guest.heartbeat_s = before
    assert heard
    assert heard[0].silent_s >= 0.5


def test_much_output_takes_little_memory(guest: Guest) -> None:
    lengths: list[int] = []
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with events.listening(lambda event: lengths.append(len(event.text)) if isinstance(event, events.Output) else None):
        result = guest.run("yes 0123456789abcde | head -c 48M; echo; echo end", timeout_s=300, warn=True)
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    assert sum(lengths) == 48 * MIB + len("\nend\n")
    assert result.truncated
    assert result.stdout.endswith("\nend\n")
    assert grown_mib < 40
    assert result.log is not None
    assert result.log.stat().st_size == 48 * MIB + len("\nend\n")


def test_a_tree_goes_in_and_comes_out_as_it_was(guest: Guest, tmp_path: Path) -> None:
    tree = tmp_path / "a tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "er" / "file with\nnewline").write_bytes(os.urandom(100_000))
    (tree / "program").write_text("#!/bin/sh\necho runs\n")
    (tree / "program").chmod(0o750)
    (tree / "link").symlink_to("deep/er")
    (tree / "dangling").symlink_to("nowhere")
    with guest.tmp_dir() as room:
        guest.put(tree, f"{room}/copy")
        assert guest.succeed([f"{room}/copy/program"]) == "runs\n"
        assert guest.succeed(["stat", "-c", "%a %U", f"{room}/copy/program"]) == "750 root\n"
        guest.get(f"{room}/copy", tmp_path / "back")
    for path in tree.rglob("*"):
        back = tmp_path / "back" / path.relative_to(tree)
        assert back.is_symlink() == path.is_symlink()
        if path.is_symlink():
            assert back.readlink() == path.readlink()
        elif path.is_file():
            assert back.read_bytes() == path.read_bytes()
            assert back.stat().st_mode == path.stat().st_mode
    assert guest.run(["test", "-e", room], warn=True).exited == 1


def test_files_and_globs_in_both_directions(guest: Guest, tmp_path: Path) -> None:
    for name in ("one.txt", "two.txt", "three.log"):
        (tmp_path / name).write_text(name)
    with guest.tmp_dir() as room:
        guest.put(tmp_path / "one.txt", f"{room}/renamed")
        guest.put(tmp_path / "one.txt", f"{room}/into/")
        guest.put(f"{tmp_path}/*.txt", f"{room}/several")
        assert guest.succeed(["cat", f"{room}/renamed", f"{room}/into/one.txt"]) == "one.txtone.txt"
        assert guest.glob(f"{room}/several/*") == [f"{room}/several/one.txt", f"{room}/several/two.txt"]
        assert guest.glob(f"{room}/none*") == []
        made = guest.get(f"{room}/several/*.txt", tmp_path / "out")
        assert sorted(path.name for path in made) == ["one.txt", "two.txt"]
        assert guest.get(f"{room}/renamed", tmp_path / "named") == [tmp_path / "named"]
        assert (tmp_path / "named").read_text() == "one.txt"


def test_what_is_not_there_is_told(guest: Guest, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        guest.put(tmp_path / "missing", "/tmp/x")
    with pytest.raises(CommandFailed, match="there is no /tmp/missing"):
        guest.get("/tmp/missing", tmp_path)
    with pytest.raises(CommandFailed, match="nothing matches"):
        guest.get("/tmp/missing*", tmp_path)
    with pytest.raises(TestFailed, match="cannot put"):
        guest.put(tmp_path, "/proc/nowhere")


def test_a_link_that_leads_outside_stays_in_the_guest(guest: Guest, tmp_path: Path) -> None:
    warnings: list[str] = []
    with (
        guest.tmp_dir() as room,
        events.listening(lambda event: warnings.append(event.text) if isinstance(event, events.Note) else None),
    ):
        guest.succeed(f"ln -s /etc {room}/etc; ln -s ../../../.. {room}/up; echo fine >{room}/file")
        guest.get(room, tmp_path / "got")
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["file"]
    assert len(warnings) == 2


def test_waiting(guest: Guest) -> None:
    guest.wait_for_unit("ssh.service")
    guest.wait_for_port(22)
    guest.run("(sleep 1; touch /tmp/awaited) >/dev/null 2>&1 &", warn=True)
    guest.wait_for_file("/tmp/awaited", timeout_s=30)
    guest.wait_until_succeeds(["test", "-e", "/tmp/awaited"])
    with pytest.raises(TimedOut, match="the last try ended with status 7") as limit:
        guest.wait_until_succeeds("echo saw this; exit 7", timeout_s=5)
    assert limit.value.details == ("saw this",)
    guest.run(["systemctl", "reset-failed"], warn=True)
    guest.run("systemd-run --unit=breaks false", warn=True)
    with pytest.raises(CommandFailed, match=r"breaks\.service on bookworm has failed"):
        guest.wait_for_unit("breaks.service")
    guest.run(["systemctl", "reset-failed"], warn=True)


def test_several_commands_at_once_over_one_connection(guest: Guest) -> None:
    outputs: dict[int, str] = {}

    def speak(number: int) -> None:
        outputs[number] = guest.succeed(f"sleep 1; echo {number}")

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outputs == {number: f"{number}\n" for number in range(4)}


def test_new_keys_are_asked_for_by_the_server_alone(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where paramiko asks as a command ends, it waits for itself, and the connection is lost."""
    monkeypatch.setattr("paramiko.packet.Packetizer.REKEY_BYTES", 100_000)
    guest._session.renew(Deadline.after(60))
    for _ in range(15):
        assert len(guest.query("head -c 60000 /dev/zero")) == 60_000
    assert guest.connection.transport.packetizer.REKEY_BYTES > 1 << 60


def test_the_machine_is_what_the_contract_says(guest: Guest) -> None:
    assert guest.cpu_count() == 2
    assert guest.is_up()
    assert guest.succeed(["systemctl", "is-system-running", "--wait"]) == "running\n"
    assert guest.run("command -v gcc cc make", warn=True).stdout == ""
    assert guest.succeed("grep -c '^[^:]*:[$]' /etc/shadow || :") == "0\n"
    assert abs(float(guest.succeed(["date", "+%s.%N"])) - time.time()) < 5


def test_a_reboot_is_another_boot_of_the_same_disk(guest: Guest) -> None:
    before = guest.boot_id()
    guest.succeed("echo kept >/var/tmp/mark")
    guest.reboot()
    assert guest.boot_id() != before
    assert guest.succeed(["cat", "/var/tmp/mark"]) == "kept\n"
