"""The one port of this host that a caller wants: which process has it, and how to get it without harm to others."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import HostError
from vmtasks.host.lease import leases

_POLL_S = 0.2
_STRAY_GRACE_S = 5.0
_LISTENING = "0A"
_FIRST_FOR_ALL = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The machine or the programs that have a port."""

    words: str
    stray: int | None = None
    """The supervisor of a machine of ours whose caller is gone: it is about to end, or must be helped to."""


def wait_until_free(port: int, *, timeout_s: float) -> None:
    """Wait until no process listens on *port* of the loopback interface; 0 is free at once.

    A machine of ours whose caller is gone is ended. Any other process keeps the port, is named, and is waited for.

    :raise HostError: the port is not free within *timeout_s* seconds, or not to be had at all.
    """
    if 0 < port < int(_FIRST_FOR_ALL.read_text()):
        raise HostError(
            f"cannot have port {port}: one so low needs a privilege, and QEMU has none", hint="try --port=0"
        )
    deadline, named = Deadline.after(timeout_s or 1e-9), ""
    stray_ends = Deadline.after(_STRAY_GRACE_S)
    while not _is_free(port):
        holder = _holder_of(port)
        if holder.words != named:
            named = holder.words
            events.emit(events.Note(text=f"waiting for port {port}, which {holder.words} has"))
            stray_ends = Deadline.after(_STRAY_GRACE_S)
            if holder.stray:
                _signal(holder.stray, signal.SIGTERM)
        if holder.stray and stray_ends.passed:
            _signal(holder.stray, signal.SIGKILL)
        if deadline.passed:
            raise HostError(
                f"cannot have port {port}: {holder.words} has it",
                hint="--port=N takes another, --port=0 any that is free, --port-timeout=SECS waits longer",
            )
        time.sleep(_POLL_S)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:
                return False
            raise HostError(f"cannot have port {port}: {problem.strerror}") from problem
    return True


def _holder_of(port: int) -> Holder:
    for lease in leases():
        if lease.alive and lease.info.get("ports", {}).get("22") == port:
            info = lease.info
            words = f"machine {info['name']} ({info['what']}, pid {info['caller_pid']})"
            # The numbers of processes in another container, which may share the cache, mean nothing here.
            if info.get("pid_namespace") != str(Path("/proc/self/ns/pid").readlink()) or _lives(info["caller_pid"]):
                return Holder(words=words)
            return Holder(
                words=f"{words}, which is being ended because its caller is gone,", stray=info["supervisor_pid"]
            )
    pids = sorted(_listeners(port))
    if not pids:
        return Holder(words="another user's program")
    return Holder(words=" and ".join(f"{_program(pid)} (pid {pid})" for pid in pids))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and another user's
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it went by itself, or is not ours to end
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)


def _listeners(port: int) -> Iterator[int]:
    """Yield the processes that listen on a TCP port, as far as we may look into them (proc(5))."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if words[1].endswith(f":{port:04X}") and words[3] == _LISTENING:
                    inodes.add(words[9])
    for directory in Path("/proc").glob("[0-9]*/fd"):
        if inodes & set(_sockets(directory)):
            yield int(directory.parent.name)


def _sockets(directory: Path) -> Iterator[str]:
    with suppress(OSError):  # the process has ended, or is another user's
        for link in directory.iterdir():
            with suppress(OSError):  # closed since
                if found := _SOCKET.fullmatch(str(link.readlink())):
                    yield found[1]


def _program(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "a program"
