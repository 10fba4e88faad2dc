"""A run of ours as a process of its own: its standard output comes here, a line at a time, and the rest to a log.

It has a process group of its own, so that a terminal interrupts us alone, and we end it in order. When we are gone,
however we came to our end, it hears of that as any run hears of its caller's end, and of its reader's: also under
nohup(1), which is meant for us.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, cast

_READ_BYTES = 64 * 1024
_LISTENS_TO_SIGHUP = ("env", "--default-signal=HUP")


class PipedProcess:
    """A process that runs, or has ended.

    :param env: what to add to the environment.
    :param log: the file for its standard error.
    :raise OSError: it cannot be started, or the file cannot be written.
    """

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [*_LISTENS_TO_SIGHUP, *argv],
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                process_group=0,
            )
        self._stdout = cast("IO[bytes]", self._process.stdout)
        os.set_blocking(self.fileno(), False)
        self._rest = b""
        self.is_open = True
        """Whether its standard output may still come to something."""

    def fileno(self) -> int:
        """Return the descriptor that there is something to read from."""
        return self._stdout.fileno()

    @property
    def status(self) -> int | None:
        """Its exit status, or the number of a signal, less than 0; None while it runs."""
        return self._process.poll()

    def lines(self) -> list[str]:
        """Return the whole lines that it has printed since the last call, without their ends."""
        while self.is_open:
            try:
                data = os.read(self.fileno(), _READ_BYTES)
            except BlockingIOError:
                break
            self._rest += data
            self.is_open = bool(data)
        *whole, rest = self._rest.split(b"\n")
        if not self.is_open and rest:
            whole, rest = [*whole, rest], b""
        self._rest = rest
        return [os.fsdecode(line) for line in whole]

    def end(self) -> None:
        """Ask it to end, also where it has been stopped."""
        for number in (signal.SIGTERM, signal.SIGCONT):
            self._process.send_signal(number)

    def close(self) -> None:
        """Kill it if it still runs, wait for that, and read no more of it."""
        self.is_open = False
        self._process.kill()
        with self._process:
            pass


def signal_name(status: int) -> str:
    """Return the name of the signal that a status less than 0 stands for."""
    number = -status
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
