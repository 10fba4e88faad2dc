"""Reach the guest: wait until its sshd greets, then log in over that very connection."""

from __future__ import annotations

import base64
import logging
import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabric import Config, Connection
from paramiko import AutoAddPolicy, Ed25519Key, PKey, RejectPolicy
from paramiko.config import SSH_PORT
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import AuthenticationException, BadHostKeyException, SSHException

from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError
from vmtasks.process.threads import call_in_thread
from vmtasks.spec import Access

if TYPE_CHECKING:
    from paramiko.channel import Channel
    from paramiko.transport import Transport

STAGGER_S = 0.5
"""A new attempt starts this long after the last. QEMU accepts for a guest that does not listen yet, and an
attempt made before its network is up may hang for seconds; so a few attempts run side by side."""
ATTEMPTS_AT_ONCE = 4
_SHARE = 16
"""The longer we have waited, the slower the guest: an attempt begins after so small a part of that time, and so lives
for a quarter of it. Since OpenSSH 9.8 each connection is greeted by a program started anew, which takes its time where
all is emulated; attempts given up too early would only keep the guest busy, for ever.
"""
LOGIN_LIMIT_S = 10.0
"""How long a first login may take: one that began on a guest which is just going down never ends. Each further
one may take twice as long, for hosts that are slow."""
RETRY_PAUSE_S = 0.1
KEYS_PATIENCE_S = 60.0
"""How long an image that is not ours may refuse our keys: while it boots, pam_nologin(8) lets only root in, and
some have the keys written at their first boot."""
HOST_ALIAS = "vmtasks"
"""What a guest is called in files of host keys: its port is another one each time."""

KEYS_PAUSE_S = 1.0
_REFUSED = "it accepts none of your ssh keys"
logging.getLogger("paramiko").addHandler(logging.NullHandler())  # or it prints, where logging is not set up

__all__ = [
    "Address",
    "Connection",
    "ReadyCheck",
    "Watch",
    "connect",
    "host_block",
    "pin_host_key",
    "runs_commands",
    "ssh_line",
    "ssh_options",
]

Watch = Callable[[float], None]
"""Waits so many seconds for news of the machine, and raises if it is bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a guest is reached, and how both sides know each other."""

    port: int
    access: Access
    host: str = "127.0.0.1"


ReadyCheck = Callable[["Channel"], bool]
"""Runs the first command over a new session, and returns whether it went well."""


def runs_commands(channel: Channel) -> bool:
    """Run the smallest of commands."""
    channel.exec_command("exit 0")
    return bool(channel.recv_exit_status() == 0)


def connect(
    address: Address,
    deadline: Deadline,
    watch: Watch,
    hello: ReadyCheck = runs_commands,
    *,
    stagger_s: float = STAGGER_S,
    on_greeting: Callable[[], None] = lambda: None,
) -> Connection:
    """Return a connection that has run a command.

    :param hello: that command.
    :param on_greeting: called whenever sshd has greeted, before we log in.
    :param stagger_s: after how many seconds to try once more beside an attempt that got no answer yet.
    :raise BootError: *deadline* passed, the guest does not let us in, or another machine answers.
    :raise HostError: a key file of this host's cannot be read.
    """
    keys = _Keys.of(address.access)
    trouble = "nothing answered"
    login_limit_s = LOGIN_LIMIT_S
    access = address.access
    patience = deadline
    while not deadline.passed:
        line = _greeted(address, deadline, watch, stagger_s)
        if line is None:
            break
        on_greeting()
        try:
            timeout_s = deadline.within(login_limit_s)
            login = partial(_login, address, keys, line, timeout_s, hello)
            return call_in_thread(login, timeout_s=timeout_s, watch=watch, give_up=line.close)
        except BadHostKeyException as problem:
            raise BootError("cannot trust the guest: another machine answers on its port") from problem
        except AuthenticationException as problem:
            if access.identity is not None:
                raise BootError("cannot log in: the guest does not accept the image's key") from problem
            if trouble != _REFUSED:
                trouble, patience = _REFUSED, Deadline.after(KEYS_PATIENCE_S)
            elif patience.passed:
                raise BootError(
                    f"cannot log in as {access.user}: the guest accepts none of your ssh keys",
                    hint=f"its {access.user} must let you in without a password; --user names another account",
                ) from problem
            watch(KEYS_PAUSE_S)
        except (SSHException, EOFError, OSError) as problem:
            if trouble != _REFUSED:  # which tells more than that the time is up
                trouble = str(problem) or type(problem).__name__
            login_limit_s *= 2
            watch(RETRY_PAUSE_S)
    raise BootError(f"the guest did not answer over ssh within {deadline.timeout_s:g} s ({trouble})")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """What both sides know each other by, read before there is anything to wait for."""

    own: dict[str, Any]
    host: tuple[str, PKey] | None

    @classmethod
    def of(cls, access: Access) -> _Keys:
        path = access.identity
        try:
            own = _keys(access)
            path = access.known_hosts
            return cls(own=own, host=_host_key(path) if path else None)
        except (OSError, ValueError, LookupError, SSHException, UnknownKeyType) as problem:
            reason = getattr(problem, "strerror", "") or "there is no key in it"
            raise HostError(
                f"cannot log in to the guest: {path}: {reason}",
                hint="if it is an image's, the task images.check removes that, and it is baked anew",
            ) from problem


def _login(address: Address, keys: _Keys, line: socket.socket, timeout_s: float, hello: ReadyCheck) -> Connection:
    access = address.access
    connection = Connection(
        address.host,
        user=access.user,
        port=address.port,
        config=Config(overrides={"load_ssh_configs": access.identity is None}),
        connect_kwargs={"sock": line, "banner_timeout": timeout_s, "auth_timeout": timeout_s, **keys.own},
    )
    if keys.host is None:
        connection.client.set_missing_host_key_policy(AutoAddPolicy())
    else:
        connection.client.set_missing_host_key_policy(RejectPolicy())
        name = address.host if address.port == SSH_PORT else f"[{address.host}]:{address.port}"
        connection.client.get_host_keys().add(name, *keys.host)
    try:
        connection.open()
        _leave_new_keys_to_the_server(connection.transport)
        with connection.transport.open_session(timeout=timeout_s) as channel:
            channel.settimeout(timeout_s)
            if not hello(channel):
                raise SSHException("the guest does not do what it is told yet")
    except BaseException:
        connection.close()
        line.close()
        raise
    return connection


def _leave_new_keys_to_the_server(transport: Transport) -> None:
    """Never ask for new keys: sshd does, in good time (RekeyLimit, sshd_config(5)).

    Where paramiko asks, after 512 MiB, and the end of a command is on its way just then, its thread waits for the new
    keys to answer that, and so reads none: after 30 s the connection is lost (paramiko issue 822).
    """
    transport.packetizer.REKEY_BYTES = transport.packetizer.REKEY_PACKETS = sys.maxsize


def pin_host_key(access: Access, connection: Connection, path: Path) -> Access:
    """Return how to get into the guest that we are connected to and no other: its host key is written to *path*."""
    key: PKey = connection.transport.get_remote_server_key()
    path.write_text(f"{HOST_ALIAS} {key.get_name()} {key.get_base64()}\n")
    return replace(access, known_hosts=path)


def ssh_options(access: Access) -> dict[str, str]:
    """Return the options of ssh_config(5) with which ssh trusts the guest, whose host key is known, and no other."""
    options = {
        "HostKeyAlias": HOST_ALIAS,
        "UserKnownHostsFile": _quoted(access.known_hosts),
        "StrictHostKeyChecking": "yes",
        "LogLevel": "ERROR",
    }
    if access.identity is None:
        return options
    return {"IdentityFile": _quoted(access.identity), "IdentitiesOnly": "yes", **options}


def host_block(name: str, address: Address) -> str:
    """Return the block of ssh_config(5) by which ssh knows a guest as *name*."""
    access = address.access
    options = {"HostName": address.host, "Port": address.port, "User": access.user, **ssh_options(access)}
    return f"Host {name}\n" + "".join(f"  {option} {value}\n" for option, value in options.items())


def _quoted(path: Path | None) -> str:
    """Return a file's name as the value of an option of ssh, which splits it at blanks, and has tokens with a %."""
    return f'"{str(path).replace("%", "%%")}"'


def ssh_line(address: Address) -> list[str]:
    """Return the command line of an ordinary ssh into the guest, whose host key is known."""
    access = address.access
    words = [word for name, value in ssh_options(access).items() for word in ("-o", f"{name}={value}")]
    own = ["-F", "none"] if access.identity else []
    return ["ssh", *own, "-p", str(address.port), *words, f"{access.user}@{address.host}"]


def _keys(access: Access) -> dict[str, Any]:
    if access.identity is None:  # whatever ssh(1) would offer
        return {"allow_agent": True, "look_for_keys": True}
    key = Ed25519Key.from_private_key_file(str(access.identity))
    return {"pkey": key, "allow_agent": False, "look_for_keys": False}


def _host_key(known_hosts: Path) -> tuple[str, PKey]:
    _, kind, encoded = known_hosts.read_text().split()[:3]
    return kind, PKey.from_type_string(kind, base64.b64decode(encoded))


def _greeted(address: Address, deadline: Deadline, watch: Watch, stagger_s: float) -> socket.socket | None:
    """Return a socket on which sshd has sent its greeting, unread; None if *deadline* passed first."""
    lines: list[socket.socket] = []
    began_s, next_s = time.monotonic(), 0.0
    try:
        while not deadline.passed:
            watch(0.0)
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + max(stagger_s, (time.monotonic() - began_s) / _SHARE)
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
