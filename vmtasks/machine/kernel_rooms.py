"""Directories for the kernels that a machine is to boot with: beside its disk, on whichever host it runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from vmtasks import events
from vmtasks.errors import HostError
from vmtasks.host.local import LOCAL_HOST, PIECE_BYTES, Host


class KernelRooms:
    """The directories of one machine; they go with its own, at the latest.

    :param directory: the machine's own.
    :param place: the host that it is on.
    """

    def __init__(self, directory: Path, *, machine: str, place: Host = LOCAL_HOST) -> None:
        self._directory = directory
        self._machine = machine
        self._place = place
        self._numbers = count(1)
        self._rooms: list[Path] = []

    def new(self) -> Path:
        """Return a new directory there.

        :raise HostError: it cannot be made.
        """
        path = self._directory / f"kernel-{next(self._numbers)}"
        self._place.call(_make, path)
        self._rooms.append(path)
        return path

    @contextmanager
    def new_file(self, path: Path) -> Iterator[IO[bytes]]:
        """Yield a file to be written, which is there as *path*, in full, after the block.

        :raise HostError: it cannot be kept there.
        :raise OSError: it cannot be kept here.
        """
        if self._place.is_local:
            with _opened(path, os.O_EXCL) as file:
                yield file
            return
        with TemporaryFile() as file:
            yield file
            detail = f"{path.name} to {self._place.name}"
            file.seek(0)
            with events.phase("upload", machine=self._machine, detail=detail):
                self._place.each(_add, ((path, piece) for piece in iter(partial(file.read, PIECE_BYTES), b"")))

    def keep(self, needed: AbstractSet[Path]) -> None:
        """Remove all but those that are *needed*: a QEMU that runs with another one has read it.

        :raise HostError: the host cannot be reached any more.
        """
        for room in [room for room in self._rooms if room not in needed]:
            self._place.call(_remove, room)
            self._rooms.remove(room)


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700)
    except OSError as problem:
        raise HostError(f"cannot make {path}: {problem.strerror}") from problem


def _add(path: Path, piece: bytes) -> None:
    try:
        with _opened(path, os.O_APPEND) as file:
            file.write(piece)
    except OSError as problem:
        raise HostError(f"cannot write {path}: {problem.strerror}") from problem


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _opened(path: Path, how: int) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how, 0o600), "wb")
