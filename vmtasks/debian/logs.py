"""The logs of a guest with packages: what tells, after all is over, how they were installed and what they did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vmtasks.errors import ConnectionLost, TestFailed
from vmtasks.guest import Guest

_LOGS = "journalctl --boot --no-pager >journal.log; cp -f /var/log/dpkg.log /var/log/apt/term.log . 2>/dev/null; :"


@contextmanager
def logs_kept(guest: Guest, directory: Path) -> Iterator[None]:
    """Bring the guest's journal and the logs of dpkg and apt out at the end of the block, whichever way that is left.

    :param directory: where they go, into a directory of the guest's name.
    """
    try:
        yield
    finally:
        with suppress(ConnectionLost, TestFailed), guest.tmp_dir() as log_dir:
            guest.query(f"cd {log_dir} && {_LOGS}")
            guest.get(log_dir, directory / f"{guest.name}-logs")
