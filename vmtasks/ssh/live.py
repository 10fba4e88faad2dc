"""A connection that lasts: made anew when that is wanted, or when it has broken while nothing was under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vmtasks.errors import BootError
from vmtasks.ssh.keepalive import Keepalive

if TYPE_CHECKING:
    from fabric import Connection

    from vmtasks.deadline import Deadline

KEEPALIVE_S = 15.0
"""How often the machine is asked whether it still answers."""


class LiveConnection:
    """The connection to one machine, whichever it is by now.

    :param connection: one that has run a command.
    :param connect: makes a new one, within a deadline.
    """

    def __init__(self, connection: Connection, connect: Callable[[Deadline], Connection]) -> None:
        self.current = connection
        self._connect = connect
        self._keepalive = Keepalive(connection, every_s=KEEPALIVE_S)
        self._may_break = True
        """Whether it is to be made anew once it has broken."""
        self._mending = threading.Lock()
        self._left_alone = 0

    def unanswered_s(self) -> float:
        """Ask the machine for a sign of life if it is time to; return for how many seconds it owes one."""
        return self._keepalive.poll()

    def renew(self, deadline: Deadline) -> None:
        """Connect anew.

        :raise BootError: the machine does not let us in before *deadline*.
        """
        self.close()
        self.current = self._connect(deadline)
        self._keepalive = Keepalive(self.current, every_s=KEEPALIVE_S)
        self._may_break = True

    def close(self) -> None:
        """Close it; the machine goes on."""
        self._may_break = False
        self.current.close()

    @contextmanager
    def left_alone(self) -> Iterator[None]:
        """Have nobody mend it for the block: who has the machine boot anew waits for the break, and then renews it."""
        self._left_alone += 1
        try:
            yield
        finally:
            self._left_alone -= 1

    def mend(self, deadline: Deadline, *, is_hopeful: Callable[[], bool]) -> str:
        """Connect anew if it has broken, but not if it was closed, nor a second time where that was in vain.

        :param is_hopeful: tells whether there is any use in it.
        :return: why it had broken, if there is a new one; nothing: all is as it was.
        """
        with self._mending:
            reason = self.broken()
            if not reason or self._left_alone or not self._may_break:
                return ""
            self._may_break = False
            if not is_hopeful():
                return ""
            try:
                self.renew(deadline)
            except BootError:  # whoever wants something of it is told that it has broken
                return ""
            return reason

    def broken(self) -> str:
        """Return why it is no more; nothing as long as it is there."""
        transport = self.current.transport
        if transport is None or transport.is_active():
            return ""
        return cause(transport.saved_exception or EOFError())


def cause(problem: Exception) -> str:
    """Return why a connection is no more, by what it came to."""
    return str(problem) or "it was closed"  # an EOFError has no text
