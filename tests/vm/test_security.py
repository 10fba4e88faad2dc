"""What docs/security.md promises, on real machines."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from vmtasks import BootError, Guest, boot
from vmtasks.deadline import Deadline
from vmtasks.host.lease import Lease, leases
from vmtasks.ssh.connect import Address, connect

TOKEN = "tkn-" + "5ca1ab1e-0ddba11"
LIMIT_S = 60.0
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapAmb")
RECIPE = """
from vmtasks import Project, apt, parallel, recipe

@recipe
def uses_it(run, source="."):
    project = run.project(source)
    commands = project.commands
    with run.boot("bookworm", project=project) as guest, run.case("uses it"):
        guest.succeed(commands.test, user="builder", env_from=commands.env_from)
        guest.run(["cat", "/home/builder/copy"])
        assert guest.glob("/home/builder/length-%d"), "it did not get there"
        guest.succeed("echo $(cat /home/builder/copy) >&2; exit 3")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """A machine, and where it lives on this host."""

    guest: Guest
    lease: Lease
    logs: Path

    @property
    def qemu(self) -> Path:
        """QEMU's directory below /proc."""
        return Path(f"/proc/{self.lease.info['qemu_pid']}")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    logs = tmp_path_factory.mktemp("logs")
    with boot("bookworm", log_dir=logs, network="none", purpose="vmtasks's own tests") as guest:
        (lease,) = [lease for lease in leases() if lease.info["caller_pid"] == os.getpid()]
        yield Ours(guest=guest, lease=lease, logs=logs)


def content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


def below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and TOKEN.encode() in content(path)]


def listening(process: Path) -> set[tuple[str, str]]:
    """Return the protocols and addresses on which a process can be reached over a network."""
    sockets = {str(link.readlink()) for link in (process / "fd").iterdir() if link.is_symlink()}
    found: set[tuple[str, str]] = set()
    for protocol in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"):
        for line in (process / "net" / protocol).read_text().splitlines()[1:]:
            words = line.split()
            state, inode = words[3], words[-1] if protocol == "packet" else words[9]
            if f"socket:[{inode}]" in sockets and (state == "0A" or not protocol.startswith("tcp")):
                found.add((protocol, words[1].partition(":")[0]))
    return found


# ---- runs, each with a machine of its own: before the one that the other tests share


def test_a_run_writes_no_secret_down_whatever_its_commands_do_with_it(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(RECIPE % len(TOKEN))
    (tmp_path / "vmtasks.toml").write_text(
        '[machine]\nnetwork = "none"\n[commands]\nenv_from = ["TOKEN"]\n'
        'test = "echo $TOKEN; cd; echo $TOKEN >copy; touch length-${#TOKEN}; printf %s ${TOKEN%e*}; echo e-0ddba11"\n'
    )
    environ = {
        **os.environ,
        "TOKEN": TOKEN,
        "VMTASKS_ENV_ALLOWED": "*TOKEN",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("inv"), "uses-it"],
        cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert "***" in done.stderr
    assert below(tmp_path) == []
    result = json.loads((tmp_path / "build/vmtasks/latest/result.json").read_text())
    assert result["details"] == ["***"]
    machine = result["machines"][-1]  # in front of it may be the one that its template was made of
    assert machine["start"] == "clone", machine["start_reason"]
    assert any("restrict=on" in word for word in machine["argv"])


def test_a_secret_that_is_not_there_ends_the_run_before_it_boots(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(RECIPE % 0)
    (tmp_path / "vmtasks.toml").write_text('[commands]\nenv_from = ["NO_SUCH_TOKEN"]\n')
    environ = {**os.environ, "VMTASKS_ENV_ALLOWED": "*TOKEN", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [Path(sys.executable).with_name("inv"), "uses-it"],
        cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 64
    assert "cannot hand on the variable NO_SUCH_TOKEN: it is not set here" in done.stderr


# ---- the host


def test_one_port_leads_to_qemu_and_that_from_this_host_alone(ours: Ours) -> None:
    assert listening(ours.qemu) == {("tcp", "0100007F")}, "127.0.0.1, as the kernel writes it"


def test_nobody_else_gets_at_the_machines_files_and_its_control_line_has_no_name(ours: Ours) -> None:
    directory = ours.lease.directory
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    # But for the supervisor's own, where people attach to the console.
    named = [path.name for path in directory.rglob("*") if path.is_socket() or path.is_fifo()]
    assert [name.partition("-")[0] for name in named] == ["console"]
    inodes = {str(link.readlink())[8:-1] for link in (ours.qemu / "fd").iterdir() if "socket" in str(link.readlink())}
    named = [line for line in Path("/proc/net/unix").read_text().splitlines()[1:] if len(line.split()) > 7]
    assert [line for line in named if line.split()[6] in inodes] == []


def test_qemu_can_do_nothing_that_its_user_cannot(ours: Ours) -> None:
    status = dict(re.findall(r"^(\w+):\t(.*)$", (ours.qemu / "status").read_text(), re.MULTILINE))
    assert {name: int(status[name], 16) for name in CAPABILITIES} == dict.fromkeys(CAPABILITIES, 0)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    threads = [dict(re.findall(r"^(\w+):\t(.*)$", (task / "status").read_text(), re.MULTILINE))
               for task in (ours.qemu / "task").iterdir()]  # fmt: skip
    assert {thread["Seccomp"] for thread in threads} == {"2"}


def test_the_key_is_its_owners_alone(ours: Ours) -> None:
    words = ours.guest.ssh_command
    (option,) = (word for word in words if word.startswith("IdentityFile="))
    key = Path(option.partition("=")[2].strip('"'))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.stat().st_uid == os.geteuid()


def test_keys_other_than_the_images_open_nothing(ours: Ours, tmp_path: Path) -> None:
    address: Address = ours.guest.address
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"vmtasks {other.with_suffix('.pub').read_text()}")

    def connects(**difference: Path) -> bool:
        elsewhere = replace(address, access=replace(address.access, **difference))
        connect(elsewhere, Deadline.after(LIMIT_S), ours.guest.watch).close()
        return True

    assert connects()
    with pytest.raises(BootError, match="cannot trust the guest: another machine answers on its port"):
        connects(known_hosts=known_hosts)
    with pytest.raises(BootError, match="cannot log in: the guest does not accept the image's key"):
        connects(identity=other)


# ---- the guest


def test_no_password_lets_anybody_in(ours: Ours) -> None:
    hashes = ours.guest.succeed(["cut", "-d:", "-f2", "/etc/shadow"]).split()
    assert all(word.startswith(("!", "*")) for word in hashes)
    sshd = ours.guest.succeed("sshd -T 2>/dev/null | grep -E '^(password|kbdinteractive)authentication'")
    assert set(sshd.split()[1::2]) == {"no"}


def test_without_a_network_nothing_is_reached(ours: Ours) -> None:
    tries = ("10.0.2.2/22", "10.0.2.2/80", "10.0.2.3/53", "192.0.2.1/80")
    for there in tries:
        assert not ours.guest.run(["timeout", "3", "bash", "-c", f"echo >/dev/tcp/{there}"], warn=True).ok
    for refused in (["getent", "hosts", "example.org"], ["bash", "-c", "echo >/dev/tcp/192.0.2.1/80"]):
        result = ours.guest.run(refused, warn=True)
        assert not result.ok
        assert result.duration_s < 5, "it waited for answers that do not come"
    assert ours.guest.is_up()


# ---- secrets


def test_a_secret_is_in_no_command_line_and_in_no_file_while_it_is_used(
    ours: Ours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    guest, seen, done = ours.guest, threading.Event(), []
    use = 'printf %s "${#TOKEN}"; [ -n "$TOKEN" ] && touch /tmp/used; until [ -e /tmp/seen ]; do sleep 0.1; done'

    def run() -> None:
        done.append(guest.run(f"{use}; echo; echo $TOKEN; env", user="builder", env_from=("TOKEN",), warn=True))
        seen.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        guest.wait_for_file("/tmp/used", timeout_s=LIMIT_S)
        half = TOKEN.partition("-0")[0]  # so that whoever looks does not find itself
        look = f'grep -al "$(printf %s%s {half[:8]} {half[8:]})" /proc/[0-9]*/'
        assert guest.query(f"{look}environ; :") != "", "whoever looks there does find it"
        assert guest.query(f"{look}cmdline; :") == ""
        mine = [path for path in Path("/proc").glob("[0-9]*/cmdline") if TOKEN.encode() in content(path)]
        assert mine == []
        held = "grep -rlas $(printf %s%s tkn- 5ca1ab1e) /etc /home /root /run /tmp /var; :"
        assert guest.query(held) == ""
    finally:
        guest.query(["touch", "/tmp/seen"])
        thread.join()
    assert done[0].stdout.startswith(f"{len(TOKEN)}\n***\n")
    assert "TOKEN=***\n" in done[0].stdout
    assert below(ours.logs) == []
