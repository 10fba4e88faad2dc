"""Named machines as people use them: calls one after the other, whose machine outlives each of them.

QEMU is the fake one and an sshd of the keeper's plays the guest; the program, the keeper, the supervisor and ssh are
real.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.named import played
from tests.waiting import LIMIT_S, until
from vmtasks.host import slots
from vmtasks.host.lease import leases
from vmtasks.named import calls, registry
from vmtasks.named.registry import NamedMachine

Call = Callable[..., subprocess.CompletedProcess[str]]
Ended = Callable[..., bool]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield where all is that machines need; none is left in the end."""
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    played.lay_out(tmp_path)
    yield tmp_path
    for machine in registry.machines():
        calls.end(machine)


@pytest.fixture
def call(home: Path) -> Call:
    def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        usual = {"stdin": subprocess.DEVNULL, "timeout": LIMIT_S} if "input" not in options else {"timeout": LIMIT_S}
        return subprocess.run(
            played.argv(home, *words),
            env=played.environ(home),
            capture_output=True,
            text=True,
            check=False,
            **{**usual, **options},
        )

    return run


@pytest.fixture
def begin(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Yield what begins a call that is not waited for."""
    begun: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            played.argv(home, *words),
            env=played.environ(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        with process:
            process.kill()


def there(name: str) -> NamedMachine:
    found = registry.find(name)
    assert found is not None
    return found


def qemu_of(name: str) -> int:
    (pid,) = [lease.info["qemu_pid"] for lease in leases() if lease.alive and lease.info["name"] == name]
    return int(pid)


def nothing_is_left(home: Path) -> bool:
    machines = home / "cache/machines"
    return not any(machines.iterdir()) and slots.tickets(str(home / "queue")) == ()


def hangs(home: Path) -> None:
    """Have QEMU start, and never say a word."""
    (home / "script").write_text(json.dumps({"start": [["ignore"]]}))


def test_calls_share_a_machine_until_one_ends_it(home: Path, call: Call, ended: Ended) -> None:
    up = call("up", "web", "--ttl", "1h")
    assert (up.returncode, up.stdout) == (0, ""), up.stderr
    assert "web: bookworm on local, until " in up.stderr
    qemu = qemu_of("web")
    assert not ended(qemu, timeout_s=0)
    assert call("exec", "web", "--", "echo one >kept").returncode == 0
    second = call("exec", "web", "--", "cat kept -; echo two >&2; exit 3", input="piped\n")
    assert (second.returncode, second.stdout, second.stderr) == (3, "one\npiped\n", "two\n")
    again = call("up", "web")
    assert (again.returncode, again.stdout) == (64, "")
    assert "there is a machine 'web' already" in again.stderr
    assert call("down", "web").returncode == 0
    assert ended(qemu, timeout_s=0)
    assert nothing_is_left(home)
    gone = call("exec", "web", "--", "true")
    assert (gone.returncode, "there is no machine 'web'" in gone.stderr) == (64, True)


def test_all_see_it_in_the_queue_with_the_time_that_is_left(home: Path, call: Call) -> None:
    assert call("up", "web", "--ttl", "1h").returncode == 0
    (ticket,) = slots.tickets(str(home / "queue"))
    assert (ticket.purpose, ticket.state) == ("up web", "running")
    (row,) = json.loads(call("vm.ps", "--json").stdout)
    assert row["what"] == "up web"
    assert 3000 < row["left_s"] <= 3600
    assert call("up", "web", "--ttl", "2h", "--extend").returncode == 0
    (row,) = json.loads(call("vm.ps", "--json").stdout)
    assert 6600 < row["left_s"] <= 7200
    assert there("web").ttl_s == 7200
    assert call("vm.gc").stdout == "nothing to sweep\n"


def test_it_ends_by_itself_when_its_time_has_passed(home: Path, call: Call, ended: Ended) -> None:
    assert call("up", "web", "--ttl", "1h").returncode == 0
    qemu = qemu_of("web")
    assert not ended(qemu, timeout_s=0)
    assert call("up", "web", "--ttl", "1s", "--extend").returncode == 0
    assert ended(qemu)
    until("end that is written down", lambda: not there("web").is_alive)
    assert nothing_is_left(home)
    late = call("exec", "web", "--", "true")
    assert late.returncode == 124
    assert "the machine 'web' is gone: its time to live of 1s has passed at " in late.stderr
    assert call("vm.gc").stdout == f"swept {registry.directory_of('web')}\n"
    assert call("exec", "web", "--", "true").returncode == 64


def test_its_time_passes_also_where_its_keeper_does_nothing(home: Path, call: Call, ended: Ended) -> None:
    assert call("up", "web", "--ttl", "1h").returncode == 0
    qemu = qemu_of("web")
    assert not ended(qemu, timeout_s=0)
    assert call("up", "web", "--ttl", "1s", "--extend").returncode == 0
    os.kill(there("web").pid, signal.SIGSTOP)
    assert ended(qemu)
    assert call("down", "web").returncode == 0
    assert nothing_is_left(home)


def test_no_machine_outlives_its_keeper(home: Path, call: Call, ended: Ended) -> None:
    assert call("up", "web").returncode == 0
    qemu = qemu_of("web")
    assert not ended(qemu, timeout_s=0)
    os.kill(there("web").pid, signal.SIGKILL)
    assert ended(qemu)
    until("end of all", lambda: nothing_is_left(home))
    late = call("exec", "web", "--", "true")
    assert late.returncode == 69
    assert "the machine 'web' is gone: the process that kept it was killed" in late.stderr
    assert call("up", "web").returncode == 0, "the name is free again"


def test_a_machine_that_is_lost_says_why(home: Path, call: Call) -> None:
    assert call("up", "web").returncode == 0
    os.kill(qemu_of("web"), signal.SIGKILL)
    until("end that is written down", lambda: not there("web").is_alive)
    late = call("exec", "web", "--", "true")
    assert late.returncode == 69
    assert "the machine 'web' is gone: web is gone: " in late.stderr
    assert nothing_is_left(home)


def test_files_go_there_and_back(home: Path, call: Call) -> None:
    assert call("up", "web").returncode == 0
    tree = home / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/a file").write_text("hello\n")
    assert call("put", "web", str(tree), str(home / "guest/tree")).returncode == 0
    assert (home / "guest/tree/sub/a file").read_text() == "hello\n"
    back = call("get", "web", str(home / "guest/tree"), str(home / "back"))
    assert back.returncode == 0, back.stderr
    assert (home / "back/sub/a file").read_text() == "hello\n"
    assert call("get", "web", str(home / "guest/nothing"), str(home / "back")).returncode == 1


def test_ssh_knows_it_by_its_name(home: Path, call: Call) -> None:
    assert call("up", "web").returncode == 0
    config = home / "ssh_config"
    config.write_text(call("ssh-config", "web").stdout)
    done = subprocess.run(
        ["ssh", "-F", config, "web", "echo by name"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert (done.returncode, done.stdout) == (0, "by name\n"), done.stderr


def test_two_machines_of_one_user(home: Path, call: Call) -> None:
    assert call("up", "web").returncode == call("up", "db").returncode == 0
    assert call("exec", "db", "--", "true").returncode == 0
    assert call("ssh-config").stdout.count("Host ") == 2
    down = call("down", "--all")
    assert sorted(down.stderr.splitlines()) == ["db: ended", "web: ended"]
    assert nothing_is_left(home)


def test_what_does_not_come_to_be_there_leaves_nothing_but_its_reason(home: Path, call: Call) -> None:
    (home / "script").write_text(json.dumps({"start": [["complain", "no such disk"], ["exit", 1]]}))
    up = call("up", "web")
    assert (up.returncode, up.stdout) == (69, "")
    assert "\ncannot start web: qemu-system-fake: no such disk\n" in up.stderr
    assert nothing_is_left(home)
    assert list(registry.registry_dir().iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_while_it_boots_it_ends_with_the_call_that_started_it(
    home: Path, begin: Callable[..., subprocess.Popen[str]], ended: Ended, number: signal.Signals
) -> None:
    hangs(home)
    up = begin("up", "web")
    keeper = until("keeper", lambda: registry.find("web")).pid
    until("QEMU", lambda: any((home / "cache/machines").glob("*/lease.json")))
    assert not ended(keeper, timeout_s=0)
    up.send_signal(number)
    assert ended(keeper)
    assert up.wait(LIMIT_S) == (130 if number == signal.SIGINT else -number)
    until("end of all", lambda: nothing_is_left(home))
    assert registry.find("web") is None


def test_another_call_may_end_it_while_it_boots(
    home: Path, call: Call, begin: Callable[..., subprocess.Popen[str]]
) -> None:
    hangs(home)
    up = begin("up", "web")
    until("machine", lambda: registry.find("web"))
    early = call("exec", "web", "--", "true")
    assert (early.returncode, "is not there yet: it boots" in early.stderr) == (69, True)
    assert call("down", "web").returncode == 0
    assert up.wait(LIMIT_S) == 130
    assert nothing_is_left(home)


def test_who_reads_the_output_of_up_waits_for_nobody_who_stays(home: Path) -> None:
    line = shlex.join(played.argv(home, "up", "web"))
    done = subprocess.run(
        ["/bin/sh", "-c", f"{line} 2>&1 | cat"],
        env=played.environ(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )
    assert "web: bookworm on local, until " in done.stdout
    assert there("web").is_alive


def test_a_name_is_free_again_once_its_machine_has_ended(home: Path, call: Call) -> None:
    assert call("up", "web").returncode == 0
    first = there("web").pid
    os.kill(first, signal.SIGTERM)  # as `down` does, but nobody waits until all has gone
    until("end that is written down", lambda: there("web").end)
    assert call("up", "web").returncode == 0
    assert there("web").is_alive
    assert there("web").pid != first


def test_a_keeper_as_it_is_says_what_keeps_it_from_booting(tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("vmtasks"), "up", "web", "--image", "trxie"],
        cwd=tmp_path,
        env={**os.environ, "VMTASKS_CACHE": str(tmp_path / "cache"), "VMTASKS_ACCEL": "tcg"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("there is no image 'trxie'; did you mean 'trixie'?\n")
    assert list((tmp_path / "cache/named").iterdir()) == []
