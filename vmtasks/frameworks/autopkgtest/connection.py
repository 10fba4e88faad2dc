"""The ssh connection that all of autopkgtest's commands share, and the program that runs one of them in the guest."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from vmtasks.config.paths import socket_dir
from vmtasks.errors import ConnectionLost
from vmtasks.process import cleanup
from vmtasks.process.host_commands import HostCommands
from vmtasks.ssh.command import DEFAULT_ENV

CONNECT_LIMIT_S = 120.0
_ENV = {**DEFAULT_ENV, "TERM": "vt220"}
"""A terminal's name is what tests have where autopkgtest's own server runs QEMU: systemd's for a serial line."""
_ALIVE = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=8")
_TELLING = ("-o", "LogLevel=INFO")
"""That the other side has hung up is no error to ssh, and all that there is to tell."""

# One word of ssh's is a line for the guest's shell: so each word of the command is quoted. What a test ends with is
# its own affair; 254 and 255 would mean that the testbed failed (Perl's die ends with 255).
_RUN = """\
line=
for word; do
    quoted=
    while :; do
        case $word in
            *"'"*) quoted="$quoted${word%%"'"*}'\\\\''"; word=${word#*"'"} ;;
            *) break ;;
        esac
    done
    line="$line '$quoted$word'"
done
exec @SSH@ "export @ENV@;$line; r=\\$?; [ \\$r -lt 254 ] || r=253; exit \\$r"
"""


class SharedConnection:
    """An ssh connection to one guest, which other ssh clients run their commands over: each costs no handshake.

    :param ssh: the command line of an ssh into the guest.
    :param host: runs the client that holds the connection; it ends with that block.
    :param directory: where the client's control socket is to be.
    """

    def __init__(self, ssh: Sequence[str], host: HostCommands, directory: Path) -> None:
        program, *words = ssh
        self._host = host
        self._socket = directory / "ssh"
        self._log = directory / "log"
        self._program = [program, "-o", f"ControlPath={self._socket}"]
        self._words = words

    @property
    def execute_command(self) -> tuple[str, ...]:
        """The argument vector that runs in the guest, as root, the command whose words are appended to it.

        Standard streams are handed on, and the exit status is the command's.
        """
        ssh = shlex.join([*self._program, "-o", "ControlMaster=no", "-o", "BatchMode=yes", "-T", *self._words])
        env = shlex.join(f"{name}={value}" for name, value in _ENV.items())
        return ("/bin/sh", "-c", _RUN.replace("@SSH@", ssh).replace("@ENV@", env), "run-in-guest")

    def open(self) -> None:
        """Connect, or connect anew after a reboot.

        :raise ConnectionLost: the guest does not let us in.
        """
        self.close()
        master = [*self._program, "-o", "ControlMaster=yes", "-f", "-N", "-n", "-T", *_ALIVE, *_TELLING, *self._words]
        # What stays in the background must not hold the caller's streams open.
        if self._quietly(master, CONNECT_LIMIT_S):
            text = self._log.read_text(errors="replace").strip()
            raise ConnectionLost(f"cannot open an ssh connection for autopkgtest's commands: {text}".rstrip(": "))

    def close(self) -> None:
        """Disconnect; what runs over the connection ends."""
        if self._socket.exists():
            self._quietly([*self._program, "-O", "exit", *self._words], CONNECT_LIMIT_S)

    def _quietly(self, argv: Sequence[str], timeout_s: float) -> int:
        line = f"exec {shlex.join(argv)} </dev/null >/dev/null 2>{shlex.quote(str(self._log))}"
        return self._host.run(["/bin/sh", "-c", line], timeout_s=timeout_s)


@contextmanager
def shared_connection(ssh: Sequence[str], host: HostCommands) -> Iterator[SharedConnection]:
    """Hold an ssh connection open for the length of the block.

    :raise ConnectionLost: the guest does not let us in.
    """
    with TemporaryDirectory(prefix="vmtasks-", dir=socket_dir()) as name:
        cleanup.remove_at_exit(Path(name))
        connection = SharedConnection(ssh, host, Path(name))
        connection.open()
        try:
            yield connection
        finally:
            connection.close()
