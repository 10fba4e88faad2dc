"""A host that is not this one, as far as that can be had on this one: a real sshd in a network of its own.

It has its own address, its own cache, settings and runtime directory, and its own queue for machines.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.waiting import until
from vmtasks.cache import entry
from vmtasks.config.paths import cache_dir
from vmtasks.process.child import die_with_parent

_NOBODYS = ipaddress.ip_network("198.18.0.0/15")  # RFC 2544: for benches
_serials = itertools.count()
_PACKAGES = ("openssh-server", "libwrap0")


# Its own /etc, and not just its own passwd: what is mounted on a file, goes when the host replaces that file.
_OWN_PLACES = """set -e
mount -t tmpfs tmpfs /run
mkdir -m 1777 /run/lock
mkdir /run/sshd /run/upper /run/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work overlay /etc
getent passwd sshd >/dev/null || echo "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin" >>/etc/passwd"""
LIMIT_S = 30.0


def _run(*argv: str, cwd: Path | None = None) -> None:
    subprocess.run(argv, cwd=cwd, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=30)


@dataclass(kw_only=True)
class BiggerHost:
    """*name* is what ``--on`` takes; *ssh* is the command that reaches it, keys and all."""

    directory: Path
    namespace: str
    ours: str
    """The address of our end of the cable."""
    address: str

    @property
    def name(self) -> str:
        return f"root@{self.address}"

    @property
    def ssh(self) -> str:
        return f"ssh -F {self.directory / 'ssh_config'}"

    @property
    def cache(self) -> Path:
        return self.directory / "cache" / "vmtasks"

    def cut(self) -> None:
        """Pull the cable: nothing arrives any more, and nobody is told."""
        _run("ip", "link", "set", self.namespace, "down")

    def mend(self) -> None:
        _run("ip", "link", "set", self.namespace, "up")

    @contextmanager
    def slowed(self, rate: str) -> Iterator[None]:
        """Have nothing arrive there faster than *rate*, as tc(8) has it."""
        _run("tc", "qdisc", "add", "dev", self.namespace, "root", *f"tbf rate {rate} burst 16kb latency 60s".split())
        try:
            yield
        finally:
            _run("tc", "qdisc", "delete", "dev", self.namespace, "root")

    def pids(self) -> list[int]:
        listed = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=True)
        return [int(pid) for pid in listed.stdout.split()]

    def running(self) -> list[tuple[int, str]]:
        """Return the processes there and their command lines, but for sshd's own."""
        found = []
        for pid in self.pids():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:  # it has just ended
                continue
            if line and "sshd" not in line.split()[0]:
                found.append((pid, line))
        return found

    def left(self) -> list[str]:
        """Return what runs there, which machines have files there, and which directories there are for sockets."""
        files = (*(self.cache / "machines").glob("*"), *(self.directory / "runtime").glob("*"))
        return [*(line for _, line in self.running()), *map(str, files)]

    def see_it_empty(self) -> None:
        """Wait until nothing is left there."""
        until("end of all that ran there", lambda: not self.left(), LIMIT_S)


def _sshd() -> list[str]:
    """Return the words that run an sshd: the host's, or Debian's, unpacked; installed, it would serve everybody."""
    if found := shutil.which("sshd", path="/usr/sbin:/sbin"):
        return [found]
    home = cache_dir() / "sshd-of-tests"
    if not home.exists():
        with entry.incomplete(part := home.with_name(".sshd-of-tests.part")):
            _run("apt-get", "--quiet", "download", *_PACKAGES, cwd=part)
            for package in part.glob("*.deb"):
                _run("dpkg-deb", "--extract", str(package), str(part))
            part.rename(home)
    (libraries,) = home.glob("usr/lib/*-linux-gnu")
    return ["/usr/bin/env", f"LD_LIBRARY_PATH={libraries}", str(home / "usr/sbin/sshd")]


def _sweep() -> None:
    """Remove the networks of tests that were killed; what ran there ended with them."""
    for path in Path("/run/netns").glob("vmt*.*"):
        if not Path("/proc", path.name[3:].partition(".")[0]).exists():
            _run("ip", "netns", "delete", path.name)


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
    serial = next(_serials)
    first = (os.getpid() * 16 + serial) % (_NOBODYS.num_addresses // 4) * 4
    host = BiggerHost(
        directory=directory,
        namespace=f"vmt{os.getpid()}.{serial}",
        ours=str(_NOBODYS[first + 1]),
        address=str(_NOBODYS[first + 2]),
    )
    for key in ("host_key", "user_key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / key))
    shutil.copy(directory / "user_key.pub", directory / "authorized_keys")
    kind, public, *_ = (directory / "host_key.pub").read_text().split()
    (directory / "known_hosts").write_text(f"{host.address} {kind} {public}\n")
    for name in ("home", "cache", "config", "runtime"):
        (directory / name).mkdir()
    variables = {
        "XDG_CACHE_HOME": directory / "cache",
        "XDG_CONFIG_HOME": directory / "config",
        "XDG_RUNTIME_DIR": directory / "runtime",
        "HOME": directory / "home",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        **(environ or {}),
    }
    settings = " ".join(f"{name}={value}" for name, value in variables.items())
    (directory / "sshd_config").write_text(
        f"ListenAddress {host.address}\nHostKey {directory}/host_key\nAuthorizedKeysFile {directory}/authorized_keys\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        # Not the login shell's environment, which is this host's.
        f'ForceCommand /usr/bin/env -i {settings} SSH_CONNECTION="$SSH_CONNECTION" '
        f'/bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    (directory / "ssh_config").write_text(
        f"IdentityFile {directory}/user_key\nIdentitiesOnly yes\nUserKnownHostsFile {directory}/known_hosts\n"
        f"GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking no\nRemoteCommand false\n"
    )
    _sweep()
    _run("ip", "netns", "add", host.namespace)
    try:
        _run("ip", "link", "add", host.namespace, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        _run("ip", "address", "add", f"{host.ours}/30", "dev", host.namespace)
        _run("ip", "link", "set", host.namespace, "up")
        for words in (f"address add {host.address}/30 dev eth0", "link set eth0 up", "link set lo up"):
            _run("ip", "-n", host.namespace, *words.split())
        room = f"mount -t tmpfs -o size={cache_mib}m tmpfs {directory}/cache" if cache_mib else ":"
        script = f'{_OWN_PLACES}; {room}; exec "$@"'
        inside = ["ip", "netns", "exec", host.namespace, "/bin/sh", "-c", script, "sh", *prefix]
        with (
            (directory / "sshd.log").open("wb") as log,
            subprocess.Popen(
                [*inside, *_sshd(), "-D", "-e", "-f", str(directory / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - it is as good as one thread
            ),
        ):
            try:
                until("sshd", lambda: b"listening on" in (directory / "sshd.log").read_bytes(), LIMIT_S)
                yield host
            finally:
                for pid in host.pids():
                    with suppress(ProcessLookupError):  # a session's own sshd ends when its client does
                        os.kill(pid, signal.SIGKILL)
    finally:
        _run("ip", "netns", "delete", host.namespace)
