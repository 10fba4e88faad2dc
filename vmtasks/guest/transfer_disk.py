"""The transfer disk: a raw disk between host and guest, on which files travel as a tar archive.

ssh enciphers and checks each byte, which takes a guest without KVM longer than all else about a large transfer. So
each machine has a disk more, empty and sparse: one side writes an archive to its beginning, the other reads it there.
The host sees it as a file, the guest as the block device whose serial is
:data:`TRANSFER_DISK_SERIAL`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vmtasks.errors import CommandFailed
from vmtasks.spec import NOTE_AT, TRANSFER_DISK_BYTES, TRANSFER_DISK_SERIAL

WORTH_BYTES = 256 * 1024
"""What is smaller than this is sooner there over the connection that is open anyway."""

FIND = (
    '{ d=; for b in /sys/block/*; do if [ -e "$b/serial" ]; then s=; read -r s <"$b/serial"; '
    f'[ "$s" = {TRANSFER_DISK_SERIAL} ] && d=/dev/${{b##*/}}; fi; done; '
    '[ -b "$d" ] && command -v blockdev >/dev/null; }'
)
"""Shell that sets ``d`` to the guest's name of the disk; fails where there is none that it can use."""


class TransferDisk:
    """The host's side of the disk.

    :param path: the file that is the disk.
    :param moved_bytes: how much the guest has read from it and written to it so far.
    """

    def __init__(self, path: Path, moved_bytes: Callable[[], int]) -> None:
        self._path = path
        self._moved_bytes = moved_bytes
        self._busy = threading.Lock()
        self.is_known = True
        """Whether the guest has it, as far as we know."""

    @contextmanager
    def acquire(self, size_bytes: int) -> Iterator[BinaryIO | None]:
        """Yield the disk as a file, from its beginning, and empty it at the end.

        None where it would not serve: the transfer is too small or too large for it, or another one has it.
        """
        fits = WORTH_BYTES <= size_bytes < NOTE_AT
        if not (fits and self.is_known and self._busy.acquire(blocking=False)):
            yield None
            return
        try:
            with self._path.open("r+b") as file:
                try:
                    yield file
                except CommandFailed:
                    raise  # the guest has reported this itself, and is done with the disk
                except BaseException:
                    self.is_known = False  # the guest's tar may still be at work there
                    raise
                finally:
                    self.empty()
        finally:
            self._busy.release()

    def empty(self) -> None:
        """Give its blocks back to the host's disk. The guest keeps none of them: it flushes before it reads."""
        os.truncate(self._path, 0)
        os.truncate(self._path, TRANSFER_DISK_BYTES)

    def progress(self) -> Callable[[], int]:
        """Return what tells how many bytes the guest has moved since now."""
        before = self._moved_bytes()
        return lambda: self._moved_bytes() - before
