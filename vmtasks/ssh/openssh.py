"""Reach a host that is there already as ssh(1) does: by the user's own configuration, keys and known hosts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from fabric import Config, Connection
from paramiko import MissingHostKeyPolicy, PKey, SSHClient
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey
from paramiko.ssh_exception import BadHostKeyException, NoValidConnectionsError, SSHException

from vmtasks.errors import HostError
from vmtasks.process.threads import call_in_thread

CONNECT_LIMIT_S = 10.0
LOGIN_LIMIT_S = 30.0
"""All of it, for a host that has several addresses, or thinks for long."""
ALIVE_S = 15
"""How often an idle connection is used all the same, so that no router on the way forgets it."""
_KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
_IN_OTHER_WORDS = {
    "Authentication failed.": "it accepts none of your ssh keys",
    "Authentication timeout.": "it does not answer",
    "Authentication failed: transport shut down or saw EOF": "it hangs up",
    "No existing session": "it hangs up",
    "": "it hangs up",
}
"""paramiko's messages about a login, and what they mean; all its other messages stand."""


def ssh_words(host: str, port: int | None) -> list[str]:
    """Return the command line of an ordinary ssh to root at *host*."""
    return ["ssh", *(["-p", str(port)] if port else []), f"root@{host}"]


def reach(host: str, port: int | None, watch: Callable[[float], None]) -> Connection:
    """Return a connection to root at *host*, a name that the user's ssh knows; its host key must be known as well.

    :param port: None: what the user's configuration sets, or 22.
    :param watch: called a few times a second; what it raises ends the wait.
    :raise HostError: it cannot be reached, is not the one that the user knows, or does not let us in.
    """
    ssh = shlex.join(ssh_words(host, port))
    try:
        connection = Connection(
            host,
            user="root",
            port=port,
            config=Config(),
            connect_timeout=CONNECT_LIMIT_S,
            connect_kwargs={"banner_timeout": CONNECT_LIMIT_S, "auth_timeout": CONNECT_LIMIT_S},
        )
        _trust_known_hosts(connection)
        call_in_thread(partial(_open, connection), timeout_s=LOGIN_LIMIT_S, watch=watch, give_up=connection.close)
    except BadHostKeyException as problem:
        raise HostError(
            f"cannot trust {host}: its host key is not the one that you know, but {_shown(problem.key)}",
            hint=f"somebody else answers there, or it was set up anew: then `{ssh}` says how the old key is forgotten",
        ) from problem
    except _UnknownHostError as problem:
        raise HostError(
            f"cannot trust {host}: you do not know its host key, which is {problem}",
            hint=f"`{ssh}` shows it to you, asks whether it is right, and remembers it",
        ) from problem
    except (SSHException, EOFError) as problem:
        raise HostError(
            f"cannot log in as root at {host}: {_IN_OTHER_WORDS.get(str(problem), str(problem))}",
            hint=f"`{ssh} true` must work without a question: a key that has a passphrase goes into your agent",
        ) from problem
    except OSError as problem:
        raise HostError(
            f"cannot reach {host}: {_cause(problem)}", hint=f"see that it is on, and that `{ssh}` works"
        ) from problem
    return connection


class _UnknownHostError(SSHException):
    """The key that a host has is in no file of known hosts."""


class _OnlyKnown(MissingHostKeyPolicy):
    def missing_host_key(self, _: SSHClient, __: str, key: PKey) -> NoReturn:
        raise _UnknownHostError(_shown(key))


def _trust_known_hosts(connection: Connection) -> None:
    """Have it, and whatever it jumps over, refuse a host whose key the user does not know."""
    for name in _KNOWN_HOSTS:
        for entry in _entries(Path(name).expanduser()):
            for host in entry.hostnames:
                connection.client.get_host_keys().add(host, entry.key.get_name(), entry.key)
    connection.client.set_missing_host_key_policy(_OnlyKnown())
    if isinstance(connection.gateway, Connection):
        _trust_known_hosts(connection.gateway)


def _entries(known_hosts: Path) -> Iterator[HostKeyEntry]:
    """Yield the lines of such a file that paramiko understands; by itself it stumbles over the others."""
    with suppress(FileNotFoundError):  # there need not be one
        for line in known_hosts.read_text(errors="replace").splitlines():
            with suppress(InvalidHostKey, SSHException):  # as authorities are, whose certificates it does not know
                if entry := HostKeyEntry.from_line(line.strip()):
                    yield entry


def _open(connection: Connection) -> None:
    connection.open()
    connection.transport.set_keepalive(ALIVE_S)


def _shown(key: PKey) -> str:
    return f"{key.get_name()} {key.fingerprint}"


def _cause(problem: OSError) -> str:
    one = next(iter(problem.errors.values())) if isinstance(problem, NoValidConnectionsError) else problem
    return getattr(one, "strerror", "") or str(one)
