"""One guest command over one ssh channel: live output, bounded memory, limits that hold.

fabric's own runner keeps all output in memory and cannot tell a command that is done from one whose daemon
still holds its output; so commands go over a channel of fabric's connection instead.
"""

from __future__ import annotations

import codecs
import math
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.process.threads import BranchEnded
from vmtasks.ssh.arrivals import Arrivals
from vmtasks.ssh.secret import Mask
from vmtasks.ssh.sending import send, send_end

if TYPE_CHECKING:
    from paramiko.channel import Channel

KEEP_BYTES = 4 * 1024 * 1024
"""How much of each stream's end a result holds."""
LOG_BYTES = 64 * 1024 * 1024
"""How much of a command's output its log holds from the beginning; its end follows."""
DRAIN_S = 0.5
"""How long to listen on after the command has ended and a child of its keeps its output open."""
_CHUNK_BYTES = 65536
_TURN_S = 0.25
_FEED_TURN_S = 0.01
_GROUP_BYTES = 20
"""No number of a process is as long: a guest that sends more in its place must not fill the memory."""
_CONTINUATION = bytes(range(0x80, 0xC0))
"""The bytes that are not the first of a character in UTF-8."""

Show = Callable[[bytes], None]
Tap = Callable[[bytes, Show], None]
"""Sees each piece of a command's standard output first, and has shown what is meant for people."""


class _End:
    """The last *keep_bytes* of what went by."""

    def __init__(self, keep_bytes: int) -> None:
        self.data = bytearray()  # and no list of pieces: a million small ones take far more memory than they hold
        self._keep_bytes = keep_bytes
        self.left_out_bytes = 0

    def add(self, data: bytes) -> None:
        self.data += data
        excess_bytes = len(self.data) - self._keep_bytes
        if excess_bytes > 0:
            del self.data[:excess_bytes]
            self.left_out_bytes += excess_bytes


class Capture:
    """One output stream: its end for the result, all of it for the listeners, unless it is a *quiet* one.

    There are stars where *secrets* would stand.
    """

    def __init__(
        self,
        machine: str,
        stream: events.Stream,
        *,
        quiet: bool = False,
        keep_bytes: int | None = None,
        secrets: Iterable[bytes] = (),
    ) -> None:
        self._mask = Mask(secrets)
        self._machine = machine
        self._stream = stream
        self._quiet = quiet
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._end = _End(keep_bytes or KEEP_BYTES)

    def take(self, data: bytes, *, final: bool = False) -> bytes:
        """Take in one piece, and return what can be shown by now."""
        shown = self._mask.take(data, final=final)
        self._end.add(shown)
        if not self._quiet and (text := self._decoder.decode(shown, final)):
            events.emit(events.Output(machine=self._machine, stream=self._stream, text=text))
        return shown

    @property
    def truncated(self) -> bool:
        """Whether more came than was kept."""
        return self._end.left_out_bytes > 0

    def text(self) -> str:
        """Return what was kept, from the first whole character on."""
        kept = bytes(self._end.data)
        return (kept.lstrip(_CONTINUATION) if self.truncated else kept).decode(errors="replace")


class Log:
    """A command's output on disk, bounded: the beginning, and the end where the middle is left out."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._room_bytes = LOG_BYTES
        self._end = _End(KEEP_BYTES)

    def write(self, data: bytes) -> None:
        """Take in one piece."""
        head, tail = data[: self._room_bytes], data[self._room_bytes :]
        self._file.write(head)
        self._room_bytes -= len(head)
        self._end.add(tail)

    def close(self) -> None:
        """Write the end."""
        if self._end.left_out_bytes:
            self._file.write(f"\n[... {self._end.left_out_bytes} bytes are left out here ...]\n".encode())
        self._file.write(self._end.data)
        self._file.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelResult:
    """What the channel knows at the end."""

    status: int | None
    """None: the limit passed, or the connection broke."""
    group: int
    """The command's process group in the guest; 0 where it was never told."""
    timed_out: bool
    stdout: Capture
    stderr: Capture


def follow(
    channel: Channel,
    machine: str,
    command: str,
    *,
    deadline: Deadline,
    watch: Callable[[], None],
    stdin: bytes = b"",
    heartbeat_s: float = math.inf,
    log: Path | None = None,
    quiet: bool = False,
    keep_bytes: int | None = None,
    secrets: Iterable[bytes] = (),
    tap: Tap | None = None,
    end: Callable[[int], object] = lambda _: None,
) -> ChannelResult:
    """See a started command to its end.

    :param watch: called a few times a second; raises when the machine is in trouble.
    :param stdin: what it reads; what it does not read is dropped.
    :param quiet: whether its output is for the result alone.
    :param keep_bytes: how much of each stream's end the result holds.
    :param secrets: what its output is not to show, anywhere.
    :param tap: what standard output goes through, where not all of it is output; what it raises ends this.
    :param end: ends the command's process group where this branch is to end, and the machine is not.
    """
    follower = _Follower(
        channel,
        stdin,
        stdout=Capture(machine, "stdout", quiet=quiet, keep_bytes=keep_bytes, secrets=secrets),
        stderr=Capture(machine, "stderr", quiet=quiet, keep_bytes=keep_bytes, secrets=secrets),
        silent=lambda silent_s: events.emit(events.Heartbeat(machine=machine, command=command, silent_s=silent_s)),
        heartbeat_s=heartbeat_s,
        tap=tap,
    )
    with ExitStack() as stack:
        if log is not None:
            follower.log = Log(log.open("wb"))
            stack.callback(follower.log.close)
        while not follower.done() and not deadline.passed:
            try:
                watch()
            except BranchEnded:
                end(follower.group)
                raise
            follower.turn(deadline.within(_TURN_S))
        follower.finish()
    timed_out = not follower.ended and deadline.passed
    status = channel.recv_exit_status() if channel.exit_status_ready() and follower.ended else None
    return ChannelResult(
        status=None if status == -1 else status,
        group=follower.group,
        timed_out=timed_out,
        stdout=follower.stdout,
        stderr=follower.stderr,
    )


class _Follower:
    """The state of one command that is being followed."""

    def __init__(
        self,
        channel: Channel,
        stdin: bytes,
        *,
        stdout: Capture,
        stderr: Capture,
        silent: Callable[[float], None],
        heartbeat_s: float,
        tap: Tap | None,
    ) -> None:
        self.channel = channel
        self._arrivals = Arrivals(channel)
        self.stdout = stdout
        self.stderr = stderr
        self._silent = silent
        self._tap = tap
        self._heartbeat_s = heartbeat_s
        self._input: memoryview | None = memoryview(stdin)
        self.log: Log | None = None
        self.group = 0
        self.ended = False
        self._header: bytes | None = b""
        self._began_s = self._heard_s = self._beat_s = time.monotonic()

    def done(self) -> bool:
        """Whether there is nothing more to come, or to wait for."""
        if self.channel.eof_received and not self._arrivals.are_there:
            self.ended = self.channel.status_event.wait(_TURN_S)
            return self.ended or self.channel.closed
        quiet_s = time.monotonic() - self._heard_s
        if self.channel.exit_status_ready() and not self._arrivals.are_there and quiet_s > DRAIN_S:
            self.ended = True  # a daemon that it left behind holds its output open
            return True
        return False

    def turn(self, wait_s: float) -> None:
        """Wait a moment for output and take in what there is."""
        self._feed()
        # What the command reads from us makes no sound, so there is less to wait for while it does.
        self._arrivals.wait(wait_s if self._input is None else min(wait_s, _FEED_TURN_S))
        heard = False
        if self.channel.recv_ready():
            self._take_stdout(self._without_header(self.channel.recv(_CHUNK_BYTES)))
            heard = True
        if self.channel.recv_stderr_ready():
            self._take(self.stderr, self.channel.recv_stderr(_CHUNK_BYTES))
            heard = True
        now_s = time.monotonic()
        if heard:
            self._heard_s = self._beat_s = now_s
        elif now_s - self._beat_s >= self._heartbeat_s:
            self._beat_s = now_s
            self._silent(now_s - self._heard_s)

    def finish(self) -> None:
        """Take in the rest of what has arrived."""
        self._take(self.stdout, self._header or b"", final=True)
        self._take(self.stderr, b"", final=True)

    def _feed(self) -> None:
        """Send as much of the input as the command takes now, and its end after the last of it."""
        if self._input is None:
            return
        try:
            while self._input and self.channel.send_ready():
                self._input = self._input[send(self.channel, bytes(self._input[:_CHUNK_BYTES])) :]
            if not self._input:
                self._input = None
                send_end(self.channel)
        except OSError:  # it has closed its standard input, or has ended: not every command reads all
            self._input = None

    def _take_stdout(self, data: bytes) -> None:
        if self._tap is None:
            self._take(self.stdout, data)
        else:
            self._tap(data, lambda shown: self._take(self.stdout, shown))

    def _take(self, capture: Capture, data: bytes, *, final: bool = False) -> None:
        shown = capture.take(data, final=final)
        if self.log is not None and shown:
            self.log.write(shown)

    def _without_header(self, data: bytes) -> bytes:
        """Take the process group, which is the first line, off standard output."""
        if self._header is None:
            return data
        received = self._header + data
        line, newline, rest = received.partition(b"\n")
        if not newline and len(received) <= _GROUP_BYTES:
            self._header = received
            return b""
        self._header = None
        if not (line.isdigit() and len(line) <= _GROUP_BYTES):  # a guest that is not what it was
            return received
        self.group = int(line)
        return rest
