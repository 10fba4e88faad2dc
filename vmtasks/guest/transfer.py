"""Files between host and guest: a tar stream over a channel of the connection that is there anyway."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import UsageError
from vmtasks.guest import archive

if TYPE_CHECKING:
    from paramiko.channel import Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Both directions, for one machine.

    :param start: starts a line of shell in the guest.
    :param conclude: sees it to its end, and raises if it failed.
    """

    machine: str
    start: Callable[[str], AbstractContextManager[Channel]]
    conclude: Callable[[Channel, str], None]

    def put(self, source: Path | str, target: str, files: Iterable[Path] | None, mtime_s: int | None) -> None:
        """Send; see ``Guest.put``."""
        members, directory = members_of(source, target, files)
        with self._phase("copy in", source, target), self.start(_tar_into(directory)) as channel:
            sink = _Sink(channel, self.machine, archive.size_bytes(members))
            with suppress(OSError):  # the guest's tar gave up: its words and its status come below
                archive.pack(members, sink, mtime_s=mtime_s)
            channel.shutdown_write()
            self.conclude(channel, f"put {source} into {target}")

    def get(self, source: str, target: Path | str) -> list[Path]:
        """Receive; see ``Guest.get``."""
        wanted = Path(target)
        into = glob.has_magic(source) or str(target).endswith("/") or wanted.is_dir()
        made: list[Path] = []
        with self._phase("copy out", source, target), self.start(_tar_out_of(source)) as channel:
            channel.shutdown_write()
            kind = channel.recv(1)
            if kind:
                below = wanted if kind == b"d" or into else wanted.parent
                made, refused = archive.unpack(_Stream(channel, self.machine), below)
                for sentence in refused:
                    events.emit(events.Note(machine=self.machine, text=sentence, level="warning"))
            self.conclude(channel, f"get {source}")
        if kind == b"f" and not into and made and made[0].name != wanted.name:
            made = [made[0].replace(wanted)]
        return made

    def _phase(self, name: str, source: object, target: object) -> AbstractContextManager[None]:
        return events.phase(name, machine=self.machine, detail=f"{source} -> {target}")


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
        return (archive.Member(path, path.name),), target
    goal = PurePosixPath(target)
    return (archive.Member(path, goal.name),), str(goal.parent)


def quoted_glob(pattern: str) -> str:
    """Quote everything of a pattern but what makes it one, for the guest's shell."""
    return "".join(letter if letter in "*?[]-" or letter.isalnum() else shlex.quote(letter) for letter in pattern)


@dataclass(slots=True)
class _Sink:
    """Writes to a command's standard input, and tells how far it is."""

    channel: Channel
    machine: str
    total_bytes: int
    done_bytes: int = 0

    def write(self, data: bytes) -> int:
        self.channel.sendall(data)
        self.done_bytes += len(data)
        _progress("copy in", self.machine, self.done_bytes, self.total_bytes)
        return len(data)


@dataclass(slots=True)
class _Stream:
    """Reads a command's standard output, and tells how far it is."""

    channel: Channel
    machine: str
    done_bytes: int = 0

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self.channel.recv(size - len(data))):
            data += piece
        self.done_bytes += len(data)
        _progress("copy out", self.machine, self.done_bytes, 0)
        return data


def _progress(phase: str, machine: str, done_bytes: int, total_bytes: int) -> None:
    events.emit(events.Progress(phase=phase, machine=machine, done=done_bytes, total=total_bytes, unit="bytes"))


def _glob(pattern: str) -> list[Path]:
    return sorted(Path(name) for name in glob.glob(pattern))  # noqa: PTH207 - magic in a directory's name too


def _tar_into(directory: str) -> str:
    where = shlex.quote(directory)
    return f"mkdir -p -- {where} && exec tar -x --no-same-owner -p -f - -C {where}"


def _tar_out_of(source: str) -> str:
    """Return the guest's command; the first byte that it prints is ``d`` if *source* is a directory, else ``f``."""
    where = shlex.quote(source)
    if glob.has_magic(source):
        # Each match goes under its own name, from the directory that it lies in.
        return (
            f"set -- {quoted_glob(source)}; "
            f'[ -e "$1" ] || {{ echo nothing matches {where} >&2; exit 1; }}; printf f; '
            'for f do shift; set -- "$@" -C "$(cd -- "$(dirname -- "$f")" && pwd)" "./$(basename -- "$f")"; done; '
            'exec tar -c -f - "$@"'
        )
    parent, name = os.path.split(source.rstrip("/") or "/")
    file = f"-C {shlex.quote(parent or '.')} {shlex.quote('./' + name)}"
    return (
        f"if [ -d {where} ]; then printf d; exec tar -c -f - -C {where} .; "
        f"elif [ -e {where} ]; then printf f; exec tar -c -f - {file}; "
        f"else echo there is no {where} >&2; exit 1; fi"
    )
