"""Files between host and guest: a tar stream over the connection, or an archive on the exchange where it is large."""

from __future__ import annotations

import errno
import glob
import os
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from vmtasks import events
from vmtasks.errors import HostError, UsageError
from vmtasks.guest import archive, transfer_disk
from vmtasks.guest.tar_commands import BY_DISK, tar_from_disk, tar_into, tar_out_of
from vmtasks.guest.transfer_disk import TransferDisk
from vmtasks.guest.unpack import ByteReader, unpack
from vmtasks.ssh.session import Session

if TYPE_CHECKING:
    from paramiko.channel import Channel

_TURN_S = 0.5
_PIECE_BYTES = 64 * 1024
_PROGRESS_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Both directions, for one machine.

    :param exchange: the disk for what is large; None where there is none.
    """

    session: Session
    transfer_disk: TransferDisk | None = None
    is_shown: bool = True
    """Whether events tell of it."""

    def put(self, source: Path | str, target: str, files: Iterable[Path] | None, mtime_s: int | None) -> None:
        """Send; see ``Guest.put``."""
        members, directory = members_of(source, target, files)
        total_bytes = archive.size_bytes(members)
        progress = _Progress("upload", self.session.machine, total_bytes)
        action = f"put {source} into {target}"
        with self._phase("upload", source, target):
            if self.transfer_disk is not None:
                with self.transfer_disk.acquire(total_bytes) as disk:
                    is_packed = disk is not None and self._packed_here(members, disk, mtime_s)
                    if is_packed and self._unpacked_there(self.transfer_disk, directory, action, progress):
                        return
            with self.session.started(tar_into(directory)) as channel:
                with suppress(OSError):  # the guest's tar gave up: its words and its status come below
                    archive.pack(members, _Sink(channel, self.session.watch, progress), mtime_s=mtime_s)
                channel.shutdown_write()
                self.session.conclude(channel, action)

    def _packed_here(self, members: Iterable[archive.Member], disk: BinaryIO, mtime_s: int | None) -> bool:
        """Pack onto the disk; return whether the host has room for that: over ssh, none is needed."""
        try:
            archive.pack(members, _Watched(disk, self.session.watch), mtime_s=mtime_s)
            disk.flush()
        except OSError as problem:
            if problem.errno == errno.ENOSPC:
                return False
            raise HostError(f"cannot send the files to {self.session.machine}: {problem}") from problem
        return True

    def _unpacked_there(self, disk: TransferDisk, directory: str, action: str, progress: _Progress) -> bool:
        """Have the guest unpack the disk; return whether it has one."""
        moved_bytes = disk.progress()
        with self.session.started(tar_from_disk(directory)) as channel:
            channel.shutdown_write()
            if _Stream(channel, self.session.watch).read(1) != BY_DISK:
                disk.is_known = False
                return False
            self.session.conclude(channel, action, meanwhile=lambda: progress.at(moved_bytes))
        return True

    def get(self, source: str, target: Path | str) -> list[Path]:
        """Receive; see ``Guest.get``."""
        wanted = Path(target)
        into = glob.has_magic(source) or str(target).endswith("/") or wanted.is_dir()
        with self._phase("download", source, target):
            if self.transfer_disk is not None:
                # How much it is, only the guest knows.
                with self.transfer_disk.acquire(transfer_disk.WORTH_BYTES) as disk:
                    if disk is not None:
                        return self._received(source, wanted, into=into, disk=disk)
            return self._received(source, wanted, into=into, disk=None)

    def _received(self, source: str, wanted: Path, *, into: bool, disk: BinaryIO | None) -> list[Path]:
        action = f"get {source}"
        progress = _Progress("download", self.session.machine)
        with self.session.started(tar_out_of(source, exchange_too=disk is not None)) as channel:
            channel.shutdown_write()
            stream = _Stream(channel, self.session.watch, progress)
            kind, way = stream.read(1), stream.read(1)
            if kind and way == BY_DISK and disk is not None and self.transfer_disk is not None:
                moved_bytes = self.transfer_disk.progress()
                self.session.conclude(channel, action, meanwhile=lambda: progress.at(moved_bytes))
                return self._unpacked_here(disk, source, wanted, kind, into=into)
            made = self._unpacked_here(stream, source, wanted, kind, into=into) if kind else []
            self.session.conclude(channel, action)
        return made

    def _unpacked_here(self, stream: ByteReader, source: str, wanted: Path, kind: bytes, *, into: bool) -> list[Path]:
        below = wanted if kind == _DIRECTORY or into else wanted.parent
        place = _place(source, None if into else wanted.name) if kind == _FILE else _anywhere
        made, refused = unpack(stream, below, place=place)
        for message in refused:
            events.emit(events.Note(machine=self.session.machine, text=message, level="warning"))
        return made

    def _phase(self, name: str, source: object, target: object) -> AbstractContextManager[None]:
        if not self.is_shown:
            return nullcontext()
        return events.phase(name, machine=self.session.machine, detail=f"{source} -> {target}")


def members_of(source: Path | str, target: str, files: Iterable[Path] | None) -> tuple[tuple[archive.Member, ...], str]:
    """Return what to send, and the guest's directory to unpack it in.

    :raise UsageError: there is nothing to send.
    """
    path = Path(source)
    if files is not None:
        return archive.members_of(path, files), target
    if not os.path.lexists(path) and glob.has_magic(str(source)):
        found = sorted(path.parent.glob(path.name)) if not glob.has_magic(str(path.parent)) else _glob(str(source))
        if not found:
            raise UsageError(f"cannot send {source}: nothing matches")
        return tuple(member for one in found for member in archive.walk(one, prefix=one.name)), target
    if path.is_dir():
        return archive.walk(path), target
    if not os.path.lexists(path):
        raise UsageError(f"cannot send {source}: there is no such file")
    if target.endswith("/"):
        return (archive.Member.of(path, path.name),), target
    goal = PurePosixPath(target)
    return (archive.Member.of(path, goal.name),), str(goal.parent)


_DIRECTORY, _FILE = b"d", b"f"


def _anywhere(name: PurePosixPath) -> PurePosixPath:
    return name


def _place(source: str, new_name: str | None) -> Callable[[PurePosixPath], PurePosixPath | None]:
    """Return where members go: what was not asked for, nowhere, whatever the guest sends.

    :param new_name: what the one file that was asked for is to be called; None: what it is called.
    """
    pattern = PurePosixPath(source).name

    def place(name: PurePosixPath) -> PurePosixPath | None:
        # A pattern that matches nothing is, to the guest's shell, the name of a file.
        is_it = name.parts == (pattern,)
        matches = glob.has_magic(source) and name.parts and fnmatchcase(name.parts[0], pattern)
        if not (is_it or matches):
            return None
        return name if new_name is None else PurePosixPath(new_name)

    return place


class _Progress:
    """Tells how far a transfer is: now and then, and not of one that is over in a moment."""

    def __init__(self, phase: str, machine: str, total_bytes: int = 0) -> None:
        self._phase = phase
        self._machine = machine
        self._total_bytes = total_bytes
        self._next_s = time.monotonic() + _PROGRESS_S

    def at(self, done_bytes: Callable[[], int]) -> None:
        """Tell that so much is done, if it is time to."""
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


class _Watched:
    """Writes to a file, with an eye on the machine."""

    def __init__(self, file: BinaryIO, watch: Callable[[float], None]) -> None:
        self._file = file
        self._watch = watch

    def write(self, data: bytes) -> int:
        self._watch(0.0)
        return self._file.write(data)


class _Sink:
    """Writes to a command's standard input, with an eye on the machine."""

    def __init__(self, channel: Channel, watch: Callable[[float], None], progress: _Progress) -> None:
        self._channel = channel
        self._watch = watch
        self._progress = progress
        self._done_bytes = 0
        self._is_over = False
        """Whether there was bad news, which may come once only: tarfile then writes an end to the archive first."""
        channel.settimeout(_TURN_S)

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest and not self._is_over:
            with suppress(TimeoutError):  # the guest takes nothing just now
                sent = self._channel.send(bytes(rest[:_PIECE_BYTES]))
                if not sent:
                    raise OSError("closed")
                rest = rest[sent:]
                self._done_bytes += sent
            try:
                self._watch(0.0)
            except BaseException:
                self._is_over = True
                raise
            self._progress.at(lambda: self._done_bytes)
        return len(data)


class _Stream:
    """Reads a command's standard output, with an eye on the machine."""

    def __init__(self, channel: Channel, watch: Callable[[float], None], progress: _Progress | None = None) -> None:
        self._channel = channel
        self._watch = watch
        self._progress = progress
        self._done_bytes = 0
        channel.settimeout(_TURN_S)

    def read(self, size: int) -> bytes:
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


def _glob(pattern: str) -> list[Path]:
    return sorted(Path(name) for name in glob.glob(pattern))  # noqa: PTH207 - magic in a directory's name too
