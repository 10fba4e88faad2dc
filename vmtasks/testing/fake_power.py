"""The power of a machine that is none: what runs there ends, connections break, and the next boot has another boot_id.

Commands reach it by programs that go before this host's own (systemctl, reboot, poweroff, halt, shutdown).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, TimedOut
from vmtasks.guest.power import BOOT_ID, Power
from vmtasks.process.threads import check_interrupted
from vmtasks.ssh.command import DEFAULT_ENV, Command
from vmtasks.testing.fake_sshd import FakeSshd

if TYPE_CHECKING:
    from vmtasks.ssh.connect import Connection

_TURN_S = 0.05
_PROGRAM = r"""#!/bin/sh
place=${0%/*} name=${0##*/} then=
case "$name $*" in
    "systemctl is-system-running") if [ -e "$place/stopping" ]; then echo stopping; exit 1; fi ;;
    *reboot*) then=on ;;
    *poweroff*|*halt*|shutdown*) then=off ;;
esac
if [ "$then" ]; then
    : >"$place/stopping"
    echo $then >"$place/switch"
    exit
fi
PATH=${PATH#"$place:"} exec "$name" "$@"
"""


class FakePower:
    """The power switch of one such machine.

    :param sshd: its ssh server.
    :param place: a directory of its own, which the machine's user may write to.
    """

    def __init__(self, sshd: FakeSshd, place: Path) -> None:
        self._sshd = sshd
        self._place = place
        self._changing = threading.Lock()
        self._is_off = threading.Event()
        for name in ("systemctl", "reboot", "poweroff", "halt", "shutdown"):
            (place / name).write_text(_PROGRAM)
            (place / name).chmod(0o755)
        self.switch()

    def hand(self) -> Power:
        """Return what a guest has of it."""
        return Power(reset=self._press, cycle=self._press, wait_off=self._wait_off)

    def environment(self) -> dict[str, str]:
        """Return what commands are to run with."""
        return {"PATH": f"{self._place}:{DEFAULT_ENV['PATH']}"}

    def command(self, command: Command) -> Command:
        """Return a command that has the machine's boot_id where it asks for the kernel's."""
        own = str(self._place / "boot_id")
        if isinstance(command, str):
            return command.replace(BOOT_ID, own)
        return [str(word).replace(BOOT_ID, own) for word in command]

    def connect(self, deadline: Deadline) -> Connection:
        """Return a connection to the machine.

        :raise BootError: it is off.
        """
        with self._changing:
            if self._is_off.is_set():
                raise BootError(f"the guest did not answer over ssh within {deadline.timeout_s:g} s (it is off)")
            return self._sshd.connect()

    def switch(self, *, off: bool = False) -> None:
        """Switch it off, and on again unless it is to stay *off*."""
        with self._changing:
            self._is_off.set() if off else self._is_off.clear()
            self._sshd.hang_up()
            (self._place / "boot_id").write_text(f"{uuid.uuid4()}\n")
            (self._place / "stopping").unlink(missing_ok=True)

    def _press(self, _limit: Deadline) -> None:
        self.switch()

    def _wait_off(self, deadline: Deadline) -> None:
        while not self._is_off.wait(_TURN_S):
            check_interrupted()
            if deadline.passed:
                raise TimedOut(f"the machine did not switch itself off within {deadline.timeout_s:g} s")


@contextmanager
def fake_power(sshd: FakeSshd, user: str) -> Iterator[FakePower]:
    """Yield the power of the machine that a server plays.

    :param user: who runs its commands; empty: we do.
    """
    with tempfile.TemporaryDirectory(prefix="vmtasks-fake-power-") as directory:
        place = Path(directory)
        os.mkfifo(place / "switch")
        fd = os.open(place / "switch", os.O_RDWR | os.O_CLOEXEC)
        power = FakePower(sshd, place)
        if user:
            for path in (place, *place.iterdir()):
                shutil.chown(path, user)
        listener = threading.Thread(target=_listen, args=(fd, power), name="power", daemon=True)
        listener.start()
        try:
            yield power
        finally:
            os.write(fd, b"end\n")
            listener.join()
            os.close(fd)


def _listen(fd: int, power: FakePower) -> None:
    while words := os.read(fd, 64).split():  # pieces are whole: each is less than PIPE_BUF
        for word in words:
            if word == b"end":
                return
            power.switch(off=word == b"off")
