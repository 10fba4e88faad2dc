"""A host that is lent to one at a time: a process there holds it for as long as one here shows that it lives.

That process is a few lines of shell. It waits for a lock, reports it, and reads a byte now and then. Where none comes,
or the connection ends, it tidies up and lets go: so the process that was to give the host back may be killed, stopped
or cut off. It does not where a reboot may come: then the connection's end is not ours, and it keeps the lock until it
ends with the boot, or :data:`AWAY_LIMIT_S` have passed. The process of the next boot finds that we are the holder.

The lock's file describes its holder. If it does while no process holds the lock, that holder could not tidy up, as in a
power cut; that is done first then. What commands leave running is known by a control group of its own: all that sshd
starts over our connection is born there. Sources: flock(1), timeout(1), cgroups(7).
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import ConnectionLost, HostError
from vmtasks.process.threads import check_interrupted
from vmtasks.ssh.sending import send_all, send_end
from vmtasks.ssh.session import Session

if TYPE_CHECKING:
    from paramiko.channel import Channel

LOCK = "/var/lib/vmtasks/standing"
"""Root's alone, unlike what is below /run/lock; and still there after a power cut."""
CONTROL_GROUPS = "/sys/fs/cgroup"
HEARTBEAT_S = 1.0
SILENCE_LIMIT_S = 10
"""How long a host waits for a byte from the process that holds it."""
AWAY_LIMIT_S = 600
"""How long a host that may reboot keeps its lock for a process that is gone."""
END_LIMIT_S = 60.0
"""How long it may take to tidy up."""
_TURN_S = 0.25
_LINE_BYTES = 1024

_HOLD = r"""
exec 2>&1
lock=$1 who=$2 silence_s=$3 away_s=$4 how=$5 groups=$6 scratch=$7 here= group= away=
shift 7
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
    rm -rf --one-file-system -- "$@" $scratch
}
flock --nonblock 9 || {
    say "behind $(head -n 1 "$lock" | head -c 500)"
    [ "$how" = wait ] && flock 9
} || exit
if [ -e "$groups/cgroup.controllers" ]; then
    here=$(sed -n "s,^0::,$groups,p" /proc/self/cgroup) group=$groups/vmtasks
fi
if [ "$how" = again ]; then
    if [ "$(head -n 1 "$lock")" != "$who" ]; then say gone; exit; fi
else
    if [ -s "$lock" ]; then tidy "$@"; fi
    for path; do
        if [ -e "$path" ]; then say "taken $path"; exit; fi
    done
    say "$who" >"$lock"
    sync "$lock"  # a reset may come
fi
if [ "$group" ] && mkdir -p "$group" && echo $PPID >"$group/cgroup.procs"; then
    say "yours whole"
else
    group=
    say "yours loose"
fi
while beat=$(timeout "$silence_s" head -c 1) && [ "$beat" ]; do
    case $beat in a) away=1 ;; b) away= ;; esac
done
if [ "$away" ]; then exec sleep "$away_s"; fi
tidy "$@" && : >"$lock"
"""


class HostInUseError(HostError):
    """Another process has the host, and we were not to wait."""


class Reservation:
    """What we have of a host.

    :param host: what it is called.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._lost = threading.Event()
        self._may_be_away = False
        self._channel: Channel | None = None
        self._again: Callable[[], None] = lambda: None
        """Has the host again, after a reboot."""
        self._is_off: Callable[[], bool] = lambda: False
        self.look: Callable[[], None] = lambda: None
        """Called in every wait for the host."""
        self.is_whole = False
        """Whether processes that commands leave behind go, too."""

    def watch(self, wait_s: float) -> None:
        """Wait *wait_s* seconds, or less if the host is ours no longer.

        :raise ConnectionLost: it is not.
        """
        check_interrupted()
        self.look()
        if self._may_be_away:
            threading.Event().wait(wait_s)
        elif self._lost.wait(wait_s):
            raise ConnectionLost(
                f"cannot go on at {self._host}: the connection broke, or we were silent for {SILENCE_LIMIT_S} s",
                hint="it has tidied up behind us, and may be somebody else's by now",
            )

    @contextmanager
    def acquire(
        self,
        session: Session,
        description: str,
        ours: Sequence[str],
        *,
        scratch: Sequence[str] = (),
        waits: bool = True,
    ) -> Iterator[None]:
        """Hold the host until the end of the block, as soon as no other process has it.

        :param session: which watches with :meth:`watch`.
        :param description: of us, for those who wait for us.
        :param ours: files and directories that are not there before, and go in the end.
        :param scratch: files that go in the end as well, whoever has made them: patterns of names without blanks.
        :param waits: whether to wait for another process that has it.
        :raise HostError: one of *ours* is there.
        :raise HostInUseError: another process has it, and we do not wait.
        """
        one_line = "".join(filter(str.isprintable, " ".join(description.split())))

        def hold(how: str) -> None:
            limits = (str(SILENCE_LIMIT_S), str(AWAY_LIMIT_S))
            arguments = [LOCK, one_line, *limits, how, CONTROL_GROUPS, " ".join(scratch), *ours]
            channel = stack.enter_context(
                session.started(shlex.join(["exec", "/bin/sh", "-c", _HOLD, "sh", *arguments]))
            )
            self._wait(session, channel, waits=how == "wait")
            self._channel, self._lost = channel, threading.Event()
            threading.Thread(target=_beat, args=(channel, self._lost), name="hold", daemon=True).start()

        # closing(), because an exception that ends the block is no news of this connection.
        with closing(ExitStack()) as stack:
            hold("wait" if waits else "once")
            self._again, self._is_off = partial(hold, "again"), lambda: session.is_off
            try:
                yield
            finally:
                self._give_back(session.machine)
                self._lost = threading.Event()  # what is not held any more cannot be lost

    @contextmanager
    def away(self) -> Iterator[None]:
        """Let the host reboot in the block, and have it again at its end, by the new connection; or be switched off.

        :raise ConnectionLost: another program has it by then.
        """
        self._may_be_away = True
        self._tell(b"a")
        try:
            yield
            if self._channel is not None and self._channel.closed and not self._is_off():
                self._again()
        finally:
            self._may_be_away = False
            self._tell(b"b")

    def _tell(self, letter: bytes) -> None:
        with suppress(OSError, EOFError):  # it is closed: there is no process to hear that
            if self._channel is not None:
                send_all(self._channel, letter)

    def _wait(self, session: Session, channel: Channel, *, waits: bool) -> None:
        queue = events.Waiting("slot", machine=session.machine)
        while True:
            reply, _, about = _line(session, channel, queue.remind).partition(" ")
            if reply == "yours":
                self.is_whole = about == "whole"
                return
            if reply == "taken":
                raise HostError(
                    f"cannot use {self._host}: there is a {about}, which is made there and removed in the end",
                    hint=f"move it away; if it is nobody's, `rm -rf {shlex.quote(about)}` there",
                )
            if reply == "gone" or (reply == "behind" and self._may_be_away):
                text = f"cannot go on at {self._host}: while it was away, it went to {about or 'somebody'}"
                raise ConnectionLost(text, hint="it has tidied up behind us")
            if reply == "behind" and not waits:
                raise HostInUseError(f"cannot have {self._host}: {about or 'somebody'} has it")
            if reply != "behind":
                raise HostError(f"cannot have {self._host}: {f'{reply} {about}'.strip() or 'the connection broke'}")
            queue.tell(f"waiting for {self._host} behind {about or 'somebody'}")

    def _give_back(self, machine: str) -> None:
        channel = self._channel
        if channel is None:
            raise AssertionError("what is given back was had")
        with events.phase("stop", machine=machine):
            with suppress(OSError, EOFError):  # it is closed already, and that has been reported
                send_end(channel)
            if channel.status_event.wait(END_LIMIT_S) and channel.exit_status == 0:
                return
        text = f"{self._host} may not be tidied up: the next run there does that first"
        events.emit(events.Note(machine=machine, text=text, level="warning"))


def _beat(channel: Channel, lost: threading.Event) -> None:
    with suppress(OSError, EOFError):  # closed, by whichever side: there is no process to notify any more
        while not channel.status_event.wait(HEARTBEAT_S):
            send_all(channel, b".")
    lost.set()


def _line(session: Session, channel: Channel, turn: Callable[[], object]) -> str:
    """Return the next line that is printed there; nothing if there is none.

    :param turn: called while there is none yet.
    """
    line = b""
    channel.settimeout(_TURN_S)
    while not line.endswith(b"\n") and len(line) < _LINE_BYTES:
        session.watch(0.0)
        turn()
        with suppress(TimeoutError):  # it waits, and so do we
            if not (piece := channel.recv(1)):
                break
            line += piece
    return line.decode(errors="replace").strip()
