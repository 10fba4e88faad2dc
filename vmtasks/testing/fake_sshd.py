"""A small ssh server in this process, which accepts every login and runs each command here, as a child of its own.

It is reached only over a pair of sockets, of which this process has both ends, unless the caller serves another. It
forwards ports of its loopback, which is ours, to its clients.
"""

from __future__ import annotations

import io
import os
import pwd
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, cast

from fabric import Config, Connection
from paramiko import Channel, ECDSAKey, PKey, ServerInterface, Transport
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.ssh_exception import SSHException

from vmtasks.process.user import user_name

_CHUNK_BYTES = 65536


class _Transport(Transport):
    """A transport that begins a command when its client has been told that it may run.

    paramiko answers after the server's check has come back; a command that was over by then would close its channel
    before the answer, which is a refusal to the client.
    """

    def __init__(self, line: socket.socket) -> None:
        super().__init__(line)
        self.granted: list[threading.Thread] = []
        """What the check that goes on has granted."""

    def _send_user_message(self, data: object) -> None:
        super()._send_user_message(data)  # type: ignore[misc]
        if threading.current_thread() is self:  # which reads requests and answers them
            while self.granted:
                self.granted.pop().start()


class FakeSshd(ServerInterface):
    """The server.

    :param home: where commands run, and their HOME.
    :param user: the user that runs them, which only root can choose; by default the one of this process.
    """

    def __init__(self, home: Path, user: str = "") -> None:
        self.key = ECDSAKey.generate()
        self._home = home
        self._account = pwd.getpwnam(user) if user else None
        self._transports: list[_Transport] = []
        self._children: list[subprocess.Popen[bytes]] = []
        self._forwarded: list[socket.socket] = []
        """The ports that clients have had forwarded."""
        self._is_closed = False
        self._one_at_a_time = threading.Lock()
        """Nothing is started that close() does not see."""

    def serve(self, line: socket.socket) -> None:
        """Serve the client at the other end of *line*, until :meth:`close`."""
        transport = _Transport(line)
        self._transports.append(transport)
        transport.add_server_key(self.key)
        transport.start_server(event=threading.Event(), server=self)

    def connect(self) -> Connection:
        """Return a connection to it."""
        ours, theirs = socket.socketpair()
        self.serve(theirs)
        connection = Connection(
            "fake",
            user="root",
            config=Config(overrides={"load_ssh_configs": False}),
            connect_kwargs={"sock": ours, "pkey": ECDSAKey.generate(), "allow_agent": False, "look_for_keys": False},
        )
        connection.open()
        return connection

    def close(self) -> None:
        """End all that runs, and all connections."""
        with self._one_at_a_time:
            self._is_closed = True
        self.hang_up()

    def hang_up(self) -> None:
        """End all that runs, and all connections that there are now."""
        while self._children:
            child = self._children.pop()
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        while self._forwarded:
            listener = self._forwarded.pop()
            with suppress(OSError):  # it is closed already
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        while self._transports:
            self._transports.pop().close()

    def execute(self, channel: Channel, command: str) -> None:
        """Run a command to its end; none, once we are closed."""
        with self._one_at_a_time:
            if self._is_closed:
                return
            child = self._start(command)
            self._children.append(child)
        threading.Thread(target=_feed, args=(channel, child), daemon=True).start()
        complaints = threading.Thread(target=_tell, args=(child.stderr, channel.sendall_stderr), daemon=True)
        complaints.start()
        _tell(child.stdout, channel.sendall)
        complaints.join()
        with suppress(OSError, EOFError):  # the client has gone, or close() was here first
            # It is not reaped yet: no other group gets its number before close() has ended what it left running.
            ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            channel.send_exit_status(ended.si_status if ended else 1)
            channel.close()

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        # What sshd gives to a command, and nothing of ours: a variable that is a secret here is none of its business.
        account = self._account
        name = account.pw_name if account else user_name()
        return subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=self._home,
            env={"HOME": str(self._home), "USER": name, "LOGNAME": name, "SHELL": "/bin/sh", "PATH": os.defpath},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )

    # --- what paramiko asks

    def check_auth_publickey(self, username: str, key: PKey) -> int:  # noqa: ARG002, D102
        return AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002, D102
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002, D102
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: Channel, command: bytes) -> bool:  # noqa: D102
        run = threading.Thread(target=self.execute, args=(channel, command.decode()), daemon=True)
        cast("_Transport", channel.get_transport()).granted.append(run)
        return True

    def check_port_forward_request(self, address: str, port: int) -> int | bool:  # noqa: D102
        transport = next((one for one in self._transports if one is threading.current_thread()), None)
        if transport is None:  # we have hung up
            return False
        listener = socket.create_server((address, port))
        self._forwarded.append(listener)
        threading.Thread(target=_forward, args=(listener, transport), daemon=True).start()
        return int(listener.getsockname()[1])


def _forward(listener: socket.socket, transport: Transport) -> None:
    """Lead connections to a port to the client, until the port is closed."""
    with suppress(OSError):  # closed
        while True:
            line, origin = listener.accept()
            threading.Thread(target=_join, args=(transport, listener.getsockname(), line, origin), daemon=True).start()


def _join(transport: Transport, port: tuple[str, int], line: socket.socket, origin: tuple[str, int]) -> None:
    with closing(line):
        try:
            channel = transport.open_forwarded_tcpip_channel(origin, port)
        except (SSHException, EOFError):  # the client has closed it before it was quite open
            return
        with suppress(OSError, EOFError), closing(channel):  # the client may have gone
            back = threading.Thread(target=_copy, args=(channel, line), daemon=True)
            back.start()
            _copy(line, channel)
            back.join()


def _copy(read: socket.socket | Channel, write: socket.socket | Channel) -> None:
    with suppress(OSError, EOFError):  # closed, by whichever side
        while data := read.recv(_CHUNK_BYTES):
            write.sendall(data)
    with suppress(OSError, EOFError):
        write.shutdown(socket.SHUT_WR)


def _feed(channel: Channel, child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        with suppress(OSError), child.stdin:  # it has ended, and not every command reads all
            while data := channel.recv(_CHUNK_BYTES):
                child.stdin.write(data)
                child.stdin.flush()


def _tell(stream: IO[bytes] | None, send: Callable[[bytes], None]) -> None:
    if isinstance(stream, io.BufferedReader):
        with suppress(OSError, EOFError), stream:  # the client has gone
            while data := stream.read1(_CHUNK_BYTES):
                send(data)
