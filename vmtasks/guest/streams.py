"""The streams of a transfer, with an eye on the machine and on the clock, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from vmtasks import events
from vmtasks.ssh.sending import send

if TYPE_CHECKING:
    from paramiko.channel import Channel

Watch = Callable[[float], None]
"""Waits so many seconds for news of the machine, and raises if they are bad, or if the time is over."""

_TURN_S = 0.5
_PIECE_BYTES = 64 * 1024
_PROGRESS_S = 1.0


class TransferProgress:
    """Tells how far a transfer is: now and then, and not of one that is over in a moment."""

    def __init__(self, phase: str, machine: str, total_bytes: int = 0) -> None:
        self._phase = phase
        self._machine = machine
        self._total_bytes = total_bytes
        self._next_s = time.monotonic() + _PROGRESS_S

    def at(self, done_bytes: Callable[[], int], watch: Watch = lambda _: None) -> None:
        """Tell that so much is done, if it is time to."""
        watch(0.0)
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _PROGRESS_S
        done, total = done_bytes(), self._total_bytes
        events.emit(
            events.Progress(
                phase=self._phase, machine=self._machine, done=min(done, total) if total else done, total=total,
                unit="bytes",
            )
        )  # fmt: skip


class Watched:
    """Writes to a file and reads from it, with an eye on the machine."""

    def __init__(self, file: BinaryIO, watch: Watch) -> None:
        self._file = file
        self._watch = watch

    def write(self, data: bytes) -> int:
        """Write on."""
        self._watch(0.0)
        return self._file.write(data)

    def read(self, size: int) -> bytes:
        """Read on."""
        self._watch(0.0)
        return self._file.read(size)


class Sink:
    """Writes to a command's standard input, with an eye on the machine."""

    def __init__(self, channel: Channel, watch: Watch, progress: TransferProgress) -> None:
        self._channel = channel
        self._watch = watch
        self._progress = progress
        self._done_bytes = 0
        self._is_over = False
        """Whether there was bad news, which may come once only: tarfile then writes an end to the archive first."""
        channel.settimeout(_TURN_S)

    def write(self, data: bytes) -> int:
        """Send all of it.

        :raise OSError: the other end takes no more.
        """
        rest = memoryview(data)
        while rest and not self._is_over:
            with suppress(TimeoutError):  # the guest takes nothing just now
                sent = send(self._channel, bytes(rest[:_PIECE_BYTES]))
                rest = rest[sent:]
                self._done_bytes += sent
            try:
                self._watch(0.0)
            except BaseException:
                self._is_over = True
                raise
            self._progress.at(lambda: self._done_bytes)
        return len(data)


class Stream:
    """Reads a command's standard output, with an eye on the machine."""

    def __init__(self, channel: Channel, watch: Watch, progress: TransferProgress | None = None) -> None:
        self._channel = channel
        self._watch = watch
        self._progress = progress
        self._done_bytes = 0
        channel.settimeout(_TURN_S)

    def read(self, size: int) -> bytes:
        """Return so many bytes; fewer at the end only."""
        data = bytearray()
        while len(data) < size:
            with suppress(TimeoutError):  # the guest sends nothing just now
                piece = self._channel.recv(size - len(data))
                if not piece:
                    break
                data += piece
            self._watch(0.0)
        self._done_bytes += len(data)
        if self._progress is not None:
            self._progress.at(lambda: self._done_bytes)
        return bytes(data)
