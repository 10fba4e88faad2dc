"""A host that is not this one, as far as that can be had on this one: a real sshd in a network of its own.

It has its own address, its own cache, settings and runtime directory, and its own queue for machines.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_NAME = f"vmtasks{os.getpid() % 100000}"
_OURS, _THEIRS = "198.18.7.1", "198.18.7.2"  # RFC 2544: for benches, and nobody's
_SSHD = "/usr/sbin/sshd"


_LIMIT_S = 30.0


def until(condition: Callable[[], object], what: str, limit_s: float = _LIMIT_S) -> None:
    """Wait until a condition holds."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            pytest.fail(f"in {limit_s:g} s it did not come to this: {what}")
        select.select([], [], [], 0.02)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=30)


@dataclass(kw_only=True)
class BiggerHost:
    """*name* is what ``--on`` takes; *ssh* is the command that reaches it, keys and all."""

    directory: Path
    name: str = f"root@{_THEIRS}"
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def ssh(self) -> str:
        return f"ssh -F {self.directory / 'ssh_config'}"

    @property
    def cache(self) -> Path:
        return self.directory / "cache" / "vmtasks"

    def cut(self) -> None:
        """Pull the cable: nothing arrives any more, and nobody is told."""
        _run("ip", "link", "set", f"{_NAME}", "down")

    def mend(self) -> None:
        _run("ip", "link", "set", f"{_NAME}", "up")

    def processes(self) -> list[str]:
        """Return the command lines of what runs there on behalf of somebody, besides sshd itself."""
        found = []
        pids = subprocess.run(["ip", "netns", "pids", _NAME], capture_output=True, text=True, check=True).stdout
        for pid in pids.split():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            if line and not line.startswith(("sshd", _SSHD, "/usr/lib/openssh")):
                found.append(line)
        return found

    def left(self) -> list[str]:
        """Return what runs there, and which machines have files there."""
        return [*self.processes(), *map(str, (self.cache / "machines").glob("*"))]


@contextmanager
def bigger_host(
    directory: Path, *prefix: str, cache_mib: int = 0, environ: dict[str, str] | None = None
) -> Iterator[BiggerHost]:
    """Have such a host for the block.

    :param prefix: a program that sshd is started by.
    :param cache_mib: how large the disk of its cache is; 0: that of this host.
    """
    if os.geteuid():
        pytest.skip("only root can have a network of its own")
    host = BiggerHost(directory=directory)
    for key in ("host_key", "user_key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / key))
    shutil.copy(directory / "user_key.pub", directory / "authorized_keys")
    kind, public, *_ = (directory / "host_key.pub").read_text().split()
    (directory / "known_hosts").write_text(f"{_THEIRS} {kind} {public}\n")
    for name in ("cache", "config", "runtime"):
        (directory / name).mkdir()
    variables = {
        "XDG_CACHE_HOME": directory / "cache",
        "XDG_CONFIG_HOME": directory / "config",
        "XDG_RUNTIME_DIR": directory / "runtime",
        **(environ or {}),
    }
    (directory / "sshd_config").write_text(
        f"ListenAddress {_THEIRS}\nHostKey {directory}/host_key\nAuthorizedKeysFile {directory}/authorized_keys\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        f"SetEnv {' '.join(f'{name}={value}' for name, value in variables.items())}\n"
    )
    (directory / "ssh_config").write_text(
        f"IdentityFile {directory}/user_key\nIdentitiesOnly yes\nUserKnownHostsFile {directory}/known_hosts\n"
        f"GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n"
    )
    _run("ip", "netns", "add", _NAME)
    try:
        _run("ip", "link", "add", _NAME, "type", "veth", "peer", "name", "eth0", "netns", _NAME)
        _run("ip", "address", "add", f"{_OURS}/30", "dev", _NAME)
        _run("ip", "link", "set", _NAME, "up")
        for words in (f"address add {_THEIRS}/30 dev eth0", "link set eth0 up", "link set lo up"):
            _run("ip", "-n", _NAME, *words.split())
        room = f"mount -t tmpfs -o size={cache_mib}m tmpfs {directory}/cache && " if cache_mib else ""
        script = f'mount -t tmpfs -o mode=1777 tmpfs /run/lock && {room}mkdir -p /run/sshd && exec "$@"'
        Path("/run/sshd").mkdir(exist_ok=True)
        sshd = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                _NAME,
                "/bin/sh",
                "-c",
                script,
                "sh",
                *prefix,
                _SSHD,
                "-D",
                "-e",
                "-f",
                str(directory / "sshd_config"),
            ],
            stdin=subprocess.DEVNULL,
            stderr=(directory / "sshd.log").open("wb"),
            start_new_session=True,
        )
        try:
            until(lambda: b"listening on" in (directory / "sshd.log").read_bytes(), "sshd listens")
            yield host
        finally:
            for pid in subprocess.run(
                ["ip", "netns", "pids", _NAME], capture_output=True, text=True, check=True
            ).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            sshd.wait()
    finally:
        _run("ip", "netns", "delete", _NAME)
