"""Waiting for what arrives on a channel, without the pipe that paramiko makes for ``select``.

``Channel.fileno`` makes a pipe that paramiko's own thread writes to as data come, and ``Channel.close`` closes it under
that thread's hands (paramiko issues 692, 1157, 1700). The write then fails, which ends the whole connection, or goes
into whatever file has got the pipe's number meanwhile. So nothing here asks a channel for its number.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paramiko.channel import Channel


class Arrivals:
    """What arrives on one channel: output, complaints, and their end."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._event = threading.Event()
        self._is_woken = False
        for buffer in (channel.in_buffer, channel.in_stderr_buffer):
            buffer.set_event(self._event)

    @property
    def are_there(self) -> bool:
        """Whether there is something to receive."""
        return self._channel.recv_ready() or self._channel.recv_stderr_ready()

    def wait(self, wait_s: float) -> None:
        """Wait until something is there, the other end has sent its last, or :meth:`wake`; at most *wait_s* seconds."""
        self._event.clear()  # first: what comes after the look sets it again
        is_over = self._channel.eof_received or self._channel.closed
        if not (self._is_woken or self.are_there or is_over):
            self._event.wait(wait_s)
        self._is_woken = False

    def wake(self) -> None:
        """End the wait, or else the next one; any thread may, once there is what the one that waits is to look at."""
        self._is_woken = True
        self._event.set()
