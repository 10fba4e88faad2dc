"""The keepalive: whether the machine at the other end of a connection still answers.

A machine that hangs, or has lost its network, looks like one whose command prints nothing. So the caller that waits for
it has it asked now and then, as ServerAliveInterval of ssh_config(5) does.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from fabric import Connection
    from paramiko import Transport

_LOOK_S = 1.0
"""How much of the time between two looks counts: a process stopped by Ctrl-Z hears no answer either."""

_turns: WeakKeyDictionary[Transport, threading.Lock] = WeakKeyDictionary()


def turn(transport: Transport) -> threading.Lock:
    """Return the lock of a thread that asks something of all of a connection, as a global request (RFC 4254, 4) does.

    paramiko keeps one answer for a connection: of two that ask at a time, one has the other's.
    """
    return _turns.setdefault(transport, threading.Lock())


class Keepalive:
    """The questions over one connection; nothing is asked but in :meth:`look`.

    :param every_s: how long after a question the next one is due, if that was answered.
    """

    def __init__(self, connection: Connection, *, every_s: float) -> None:
        self._connection = connection
        self._every_s = every_s
        self._question: threading.Thread | None = None
        self._looked_s = time.monotonic()
        self._due_s = self._looked_s + every_s
        self._unanswered_s = 0.0

    def poll(self) -> float:
        """Ask if it is time to; return for how many seconds a question has waited for its answer."""
        now_s = time.monotonic()
        passed_s, self._looked_s = min(now_s - self._looked_s, _LOOK_S), now_s
        if self._question is not None and self._question.is_alive():
            self._unanswered_s += passed_s
            return self._unanswered_s
        self._unanswered_s = 0.0
        if now_s >= self._due_s and (transport := self._connection.transport) is not None:
            self._due_s = now_s + self._every_s
            self._question = threading.Thread(target=_ask, args=(transport,), name="keepalive", daemon=True)
            self._question.start()
        return 0.0


def _ask(transport: Transport) -> None:
    """Return when the other side has answered, or the connection is closed."""
    from paramiko.ssh_exception import SSHException

    with suppress(EOFError, OSError):  # it is being closed
        while transport.is_active():
            # An SSHException: it was to agree on new keys first, and did not in half a minute.
            with suppress(SSHException), turn(transport):
                transport.global_request("keepalive@openssh.com")  # refused, but that is an answer
                return
