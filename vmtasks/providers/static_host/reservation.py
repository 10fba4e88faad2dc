"""A host that is lent to one at a time: a process there holds it for as long as one here shows that it lives.

That process is a few lines of shell. It waits for a lock, reports it, and reads a byte now and then. Where none comes,
or the connection ends, it tidies up and lets go: so the process that was to give the host back may be killed, stopped
or cut off.

The lock's file describes its holder. If it does while no process holds the lock, that holder could not tidy up, as in a
power cut; that is done first then. What commands leave running is known by a control group of its own: all that sshd
starts over our connection is born there. Sources: flock(1), timeout(1), cgroups(7).
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import ConnectionLost, HostError
from vmtasks.process.threads import check_interrupted
from vmtasks.ssh.session import Session

if TYPE_CHECKING:
    from paramiko.channel import Channel

LOCK = "/var/lib/vmtasks/standing"
"""Root's alone, unlike what is below /run/lock; and still there after a power cut."""
CONTROL_GROUPS = "/sys/fs/cgroup"
HEARTBEAT_S = 1.0
SILENCE_LIMIT_S = 10
"""How long a host waits for a byte from the process that holds it."""
END_LIMIT_S = 60.0
"""How long it may take to tidy up."""
_TURN_S = 0.25
_LINE_BYTES = 1024

_HOLD = r"""
exec 2>&1
lock=$1 who=$2 silence_s=$3 groups=$4 here= group=
shift 4
mkdir -p "${lock%/*}" && exec 9>>"$lock" || exit
say() { printf '%s\n' "$*"; }  # no echo: dash's makes two lines of a \n
tidy() {
    if [ "$group" ]; then
        echo $PPID >"$here/cgroup.procs"
        n=0
        until rmdir "$group" || [ $n -gt 100 ]; do
            xargs -r kill -KILL <"$group/cgroup.procs"
            sleep 0.1
            n=$((n+1))
        done
    fi 2>/dev/null
    rm -rf --one-file-system -- "$@"
}
flock --nonblock 9 || { say "behind $(head -n 1 "$lock" | head -c 500)"; flock 9; } || exit
if [ -e "$groups/cgroup.controllers" ]; then
    here=$(sed -n "s,^0::,$groups,p" /proc/self/cgroup) group=$groups/vmtasks
fi
if [ -s "$lock" ]; then tidy "$@"; fi
for path; do
    if [ -e "$path" ]; then say "taken $path"; exit; fi
done
say "$who" >"$lock"
if [ "$group" ] && mkdir -p "$group" && echo $PPID >"$group/cgroup.procs"; then
    say "yours whole"
else
    group=
    say "yours loose"
fi
while [ "$(timeout "$silence_s" head -c 1)" ]; do :; done
tidy "$@" && : >"$lock"
"""


class Reservation:
    """What we have of a host.

    :param host: what it is called.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._lost = threading.Event()
        self.is_whole = False
        """Whether processes that commands leave behind go, too."""

    def watch(self, wait_s: float) -> None:
        """Wait *wait_s* seconds, or less if the host is ours no longer.

        :raise ConnectionLost: it is not.
        """
        check_interrupted()
        if self._lost.wait(wait_s):
            raise ConnectionLost(
                f"cannot go on at {self._host}: the connection broke, or we were silent for {SILENCE_LIMIT_S} s",
                hint="it has tidied up behind us, and may be somebody else's by now",
            )

    @contextmanager
    def acquire(self, session: Session, description: str, ours: Sequence[str]) -> Iterator[None]:
        """Wait until no other process has the host, and hold it until the end of the block.

        :param session: which watches with :meth:`watch`.
        :param description: of us, for those who wait for us.
        :param ours: files and directories that are not there before, and go in the end.
        :raise HostError: one of them is there.
        """
        one_line = "".join(filter(str.isprintable, " ".join(description.split())))
        arguments = [LOCK, one_line, str(SILENCE_LIMIT_S), CONTROL_GROUPS, *ours]
        line = shlex.join(["exec", "/bin/sh", "-c", _HOLD, "sh", *arguments])
        # closing(), because an exception that ends the block is no news of this connection.
        with closing(ExitStack()) as stack:
            channel = stack.enter_context(session.started(line))
            with events.phase("slot", machine=session.machine):
                self._wait(session, channel)
            threading.Thread(target=self._beat, args=(channel,), name="hold", daemon=True).start()
            stack.callback(self._give_back, session.machine, channel)
            yield

    def _wait(self, session: Session, channel: Channel) -> None:
        while True:
            reply, _, about = _line(session, channel).partition(" ")
            if reply == "yours":
                self.is_whole = about == "whole"
                return
            if reply == "taken":
                raise HostError(
                    f"cannot use {self._host}: there is a {about}, which is made there and removed in the end",
                    hint=f"move it away; if it is nobody's, `rm -rf {shlex.quote(about)}` there",
                )
            if reply != "behind":
                raise HostError(f"cannot have {self._host}: {f'{reply} {about}'.strip() or 'the connection broke'}")
            text = f"waiting for {self._host} behind {about or 'somebody'}"
            events.emit(events.Note(machine=session.machine, text=text))

    def _beat(self, channel: Channel) -> None:
        with suppress(OSError):  # closed, by whichever side: there is no process to notify any more
            while not channel.status_event.wait(HEARTBEAT_S):
                channel.sendall(b".")
        self._lost.set()

    def _give_back(self, machine: str, channel: Channel) -> None:
        with events.phase("stop", machine=machine):
            with suppress(OSError):  # it is closed already, and that has been reported
                channel.shutdown_write()
            if channel.status_event.wait(END_LIMIT_S) and channel.exit_status == 0:
                return
        text = f"{self._host} may not be tidied up: the next run there does that first"
        events.emit(events.Note(machine=machine, text=text, level="warning"))


def _line(session: Session, channel: Channel) -> str:
    """Return the next line that is printed there; nothing if there is none."""
    line = b""
    channel.settimeout(_TURN_S)
    while not line.endswith(b"\n") and len(line) < _LINE_BYTES:
        session.watch(0.0)
        with suppress(TimeoutError):  # it waits, and so do we
            if not (piece := channel.recv(1)):
                break
            line += piece
    return line.decode(errors="replace").strip()
