"""Files between host and guest: a tar stream over the connection, or an archive on the transfer disk if it is large."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import HostError, TimedOut, UsageError
from vmtasks.guest import archive, transfer_disk
from vmtasks.guest.allowance import Allowance
from vmtasks.guest.streams import Sink, Stream, TransferProgress, Watch, Watched
from vmtasks.guest.tar_commands import BY_DISK, tar_from_disk, tar_into, tar_out_of
from vmtasks.guest.transfer_disk import TransferDisk
from vmtasks.guest.unpack import ByteReader, unpack
from vmtasks.ssh.sending import send_end
from vmtasks.ssh.session import Session

LIMIT_S = 3600.0
"""How long a transfer may take, in seconds, where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Both directions, for one machine.

    :param transfer_disk: the disk for what is large; None where there is none.
    :param allowance: how much may come out of this machine, and of others that share it.
    """

    session: Session
    transfer_disk: TransferDisk | None = None
    is_shown: bool = True
    """Whether events tell of it."""
    allowance: Allowance = field(default_factory=Allowance)

    def put(
        self,
        local: Path | str,
        remote: str,
        files: Iterable[Path] | None,
        mtime_s: int | None,
        timeout_s: float | None = None,
    ) -> None:
        """Send; see ``Guest.put``."""
        members, directory = members_of(local, remote, files)
        total_bytes = archive.size_bytes(members)
        progress = TransferProgress("upload", self.session.machine, total_bytes)
        action = f"put {local} into {remote}"
        watch = self._watch(action, timeout_s)
        with self._phase("upload", local, remote):
            if self.transfer_disk is not None:
                with self.transfer_disk.acquire(total_bytes) as disk:
                    is_packed = disk is not None and self._packed_here(members, disk, mtime_s, watch)
                    if is_packed and self._unpacked_there(self.transfer_disk, directory, action, progress, watch):
                        return
            with self.session.started(tar_into(directory)) as channel:
                with suppress(OSError):  # the guest's tar gave up: its words and its status come below
                    archive.pack(members, Sink(channel, watch, progress), mtime_s=mtime_s)
                send_end(channel)
                self.session.conclude(channel, action, meanwhile=lambda: watch(0.0))

    def _packed_here(
        self, members: Iterable[archive.Member], disk: BinaryIO, mtime_s: int | None, watch: Watch
    ) -> bool:
        """Pack onto the disk; return whether the host has room for that: over ssh, none is needed."""
        try:
            archive.pack(members, Watched(disk, watch), mtime_s=mtime_s)
            disk.flush()
        except OSError as problem:
            if problem.errno == errno.ENOSPC:
                return False
            raise HostError(f"cannot send the files to {self.session.machine}: {problem}") from problem
        return True

    def _unpacked_there(
        self, disk: TransferDisk, directory: str, action: str, progress: TransferProgress, watch: Watch
    ) -> bool:
        """Have the guest unpack the disk; return whether it has one."""
        moved_bytes = disk.progress()
        with self.session.started(tar_from_disk(directory)) as channel:
            send_end(channel)
            if Stream(channel, watch).read(1) != BY_DISK:
                disk.is_known = False
                return False
            self.session.conclude(channel, action, meanwhile=lambda: progress.at(moved_bytes, watch))
        return True

    def get(self, remote: str, local: Path | str, timeout_s: float | None = None) -> list[Path]:
        """Receive; see ``Guest.get``."""
        wanted = Path(local)
        watch = self._watch(f"get {remote}", timeout_s)
        into = glob.has_magic(remote) or str(local).endswith("/") or wanted.is_dir()
        with self._phase("download", remote, local):
            if self.transfer_disk is not None:
                # How much it is, only the guest knows.
                with self.transfer_disk.acquire(transfer_disk.WORTH_BYTES) as disk:
                    if disk is not None:
                        return self._received(remote, wanted, watch, into=into, disk=disk)
            return self._received(remote, wanted, watch, into=into, disk=None)

    def _received(self, remote: str, wanted: Path, watch: Watch, *, into: bool, disk: BinaryIO | None) -> list[Path]:
        action = f"get {remote}"
        progress = TransferProgress("download", self.session.machine)
        with self.session.started(tar_out_of(remote, disk_too=disk is not None)) as channel:
            send_end(channel)
            stream = Stream(channel, watch, progress)
            kind, way = stream.read(1), stream.read(1)
            if kind and way == BY_DISK and disk is not None and self.transfer_disk is not None:
                moved_bytes = self.transfer_disk.progress()
                self.session.conclude(channel, action, meanwhile=lambda: progress.at(moved_bytes, watch))
                return self._unpacked_here(Watched(disk, watch), remote, wanted, kind, into=into)
            made = self._unpacked_here(stream, remote, wanted, kind, into=into) if kind else []
            self.session.conclude(channel, action, meanwhile=lambda: watch(0.0))
        return made

    def _unpacked_here(self, stream: ByteReader, remote: str, wanted: Path, kind: bytes, *, into: bool) -> list[Path]:
        below = wanted if kind == _DIRECTORY or into else wanted.parent
        place = _place(remote, None if into else wanted.name) if kind == _FILE else _anywhere
        made, refused = unpack(stream, below, place=place, allowance=self.allowance)
        for message in refused:
            events.emit(events.Note(machine=self.session.machine, text=message, level="warning"))
        return made

    def _watch(self, action: str, timeout_s: float | None) -> Watch:
        """Return what watches the machine and the clock while files move: a guest's tar may sleep, or never end."""
        deadline, session = Deadline.after(LIMIT_S if timeout_s is None else timeout_s), self.session

        def watch(wait_s: float) -> None:
            session.watch(wait_s)
            if deadline.passed:
                raise TimedOut(
                    f"cannot {action} on {session.machine}: it did not end within {deadline.timeout_s:g} s",
                    hint="put and get take timeout_s; in a run, [commands] timeout_s (vmtasks.toml) is the limit",
                )

        return watch

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


def _glob(pattern: str) -> list[Path]:
    return sorted(Path(name) for name in glob.glob(pattern))  # noqa: PTH207 - magic in a directory's name too
