"""Reach the guest: wait until its sshd greets, then log in over that very connection."""

from __future__ import annotations

import base64
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fabric import Config, Connection
from paramiko import Ed25519Key, PKey, RejectPolicy
from paramiko.ssh_exception import AuthenticationException, BadHostKeyException, SSHException

from vmtasks.deadline import Deadline
from vmtasks.errors import BootError
from vmtasks.guest.watched import watched

if TYPE_CHECKING:
    from paramiko.channel import Channel

STAGGER_S = 0.5
"""A new attempt starts this long after the last. QEMU accepts for a guest that does not listen yet, and an
attempt made before its network is up may hang for seconds; so a few attempts run side by side."""
ATTEMPTS_AT_ONCE = 4
LOGIN_LIMIT_S = 10.0
"""How long a first login may take: one that began on a guest which is just going down never ends. Each further
one may take twice as long, for hosts that are slow."""
RETRY_PAUSE_S = 0.1

__all__ = ["Address", "Connection", "Hello", "Watch", "connect", "runs_commands"]

Watch = Callable[[float], None]
"""Waits so many seconds for news of the machine, and raises if it is bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a guest is reached, and how both sides know each other."""

    port: int
    identity: Path
    host_key: str
    """``ssh-ed25519 BASE64``: who does not hold it is not our guest."""
    host: str = "127.0.0.1"
    user: str = "root"


Hello = Callable[["Channel"], bool]
"""Runs the first command over a new session, and says whether it went well."""


def runs_commands(channel: Channel) -> bool:
    """Run the smallest of commands."""
    channel.exec_command("exit 0")
    return bool(channel.recv_exit_status() == 0)


def connect(
    address: Address,
    deadline: Deadline,
    watch: Watch,
    hello: Hello = runs_commands,
    *,
    stagger_s: float = STAGGER_S,
    on_greeting: Callable[[], None] = lambda: None,
) -> Connection:
    """Return a connection that has run a command.

    :param hello: that command.
    :param on_greeting: called whenever sshd has greeted, before we log in.
    :param stagger_s: after how many seconds to try once more beside an attempt that got no answer yet.
    :raise BootError: *deadline* passed, the guest does not let us in, or somebody else answers.
    """
    trouble = "nothing answered"
    login_limit_s = LOGIN_LIMIT_S
    while not deadline.passed:
        line = _greeted(address, deadline, watch, stagger_s)
        if line is None:
            break
        on_greeting()
        try:
            limit_s = deadline.within(login_limit_s)
            login = partial(_login, address, line, limit_s, hello)
            return watched(login, within_s=limit_s, watch=watch, give_up=line.close)
        except BadHostKeyException as problem:
            raise BootError("cannot trust the guest: another machine answers on its port") from problem
        except AuthenticationException as problem:
            raise BootError("cannot log in: the guest does not accept the image's key") from problem
        except (SSHException, EOFError, OSError) as problem:
            trouble = str(problem) or type(problem).__name__
            login_limit_s *= 2
            watch(RETRY_PAUSE_S)
    raise BootError(f"the guest did not answer over ssh within {deadline.limit_s:g} s ({trouble})")


def _login(address: Address, line: socket.socket, limit_s: float, hello: Hello) -> Connection:
    connection = Connection(
        address.host,
        user=address.user,
        port=address.port,
        config=Config(overrides={"load_ssh_configs": False}),
        connect_kwargs={
            "sock": line,
            "pkey": Ed25519Key.from_private_key_file(str(address.identity)),
            "allow_agent": False,
            "look_for_keys": False,
            "banner_timeout": limit_s,
            "auth_timeout": limit_s,
        },
    )
    connection.client.set_missing_host_key_policy(RejectPolicy())
    name = f"[{address.host}]:{address.port}"
    connection.client.get_host_keys().add(name, *_host_key(address.host_key))
    try:
        connection.open()
        transport = connection.transport
        transport.set_keepalive(15)
        with transport.open_session(timeout=limit_s) as channel:
            channel.settimeout(limit_s)
            if not hello(channel):
                raise SSHException("the guest does not do what it is told yet")
    except BaseException:
        connection.close()
        line.close()
        raise
    return connection


def _host_key(text: str) -> tuple[str, PKey]:
    kind, encoded = text.split()[:2]
    return kind, PKey.from_type_string(kind, base64.b64decode(encoded))


def _greeted(address: Address, deadline: Deadline, watch: Watch, stagger_s: float) -> socket.socket | None:
    """Return a socket on which sshd has sent its greeting, unread; None if *deadline* passed first."""
    lines: list[socket.socket] = []
    next_s = 0.0
    try:
        while not deadline.passed:
            watch(0.0)
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + stagger_s
                if len(lines) == ATTEMPTS_AT_ONCE:
                    lines.pop(0).close()
                with suppress(OSError):  # QEMU may not listen yet, or no longer: watch() knows
                    lines.append(socket.create_connection((address.host, address.port), timeout=5.0))
            if not lines:
                watch(RETRY_PAUSE_S)
                continue
            for line in select.select(lines, [], [], RETRY_PAUSE_S)[0]:
                if _greets(line):
                    lines.remove(line)
                    return line
                lines.remove(line)
                line.close()
                next_s = time.monotonic() + RETRY_PAUSE_S  # refused: it is up, and sshd will be in a moment
        return None
    finally:
        for line in lines:
            line.close()


def _greets(line: socket.socket) -> bool:
    try:
        return line.recv(4, socket.MSG_PEEK) == b"SSH-"
    except OSError:
        return False
