"""How much may come out of guests onto the host's disk: of one run, whatever the number of its machines."""

from __future__ import annotations

import threading

from vmtasks.errors import TestFailed

ALLOWED_BYTES = 64 * 1024**3
ALLOWED_NAMES = 1_000_000
"""How many names there may be in all; each directory on the way to a file counts as well, as it is made."""


class Allowance:
    """What is left of it; machines may take at the same time."""

    def __init__(self, *, max_bytes: int = ALLOWED_BYTES, max_names: int = ALLOWED_NAMES) -> None:
        self._max_bytes = self._left_bytes = max_bytes
        self._max_names = self._left_names = max_names
        self._lock = threading.Lock()

    def take(self, size_bytes: int, names: int) -> None:
        """Take so much of it, before it is written.

        :raise TestFailed: there is not so much left.
        """
        with self._lock:
            self._left_bytes -= size_bytes
            self._left_names -= names
            is_too_large, is_too_many = self._left_bytes < 0, self._left_names < 0
        if is_too_large:
            raise TestFailed(
                f"cannot take more than {self._max_bytes >> 20} MiB out of the guests of one run",
                hint="where it is the host's to give: artifacts_mib (VMTASKS_ARTIFACTS_MIB) is the limit",
            )
        if is_too_many:
            raise TestFailed(f"cannot take more than {self._max_names} names out of the guests of one run")
